package transfer

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/pinfold-cluster/pinfold/api"
)

// Server receives the adds of other peers.
type Server struct {
	h      host.Host
	store  Store
	allow  func(context.Context, peer.ID) error
	o      Options
	log    *slog.Logger
	memory *semaphore.Weighted

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
	total   int
	streams map[peer.ID]int
}

// NewServer returns a Server of what store keeps. allow is asked about the remote
// identity before anything is read from it; its error is told to that peer. Nothing
// is served until Run.
func NewServer(h host.Host, store Store, allow func(context.Context, peer.ID) error, o Options, log *slog.Logger) *Server {
	o = o.withDefaults()
	return &Server{h: h, store: store, allow: allow, o: o, log: log.With("component", "transfer"),
		memory: semaphore.NewWeighted(o.Memory), streams: map[peer.ID]int{}}
}

// Run serves until ctx ends. It returns once all adds in progress have been given up.
func (s *Server) Run(ctx context.Context) error {
	s.h.SetStreamHandler(Protocol, func(st network.Stream) { s.handle(ctx, st) })
	<-ctx.Done()
	s.h.RemoveStreamHandler(Protocol)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// handle serves one stream and tells the other side how it ended. Closing both
// directions, instead of a reset, lets the last frame arrive.
func (s *Server) handle(ctx context.Context, st network.Stream) {
	from := st.Conn().RemotePeer()
	out := &answers{st: st, idle: s.o.Idle}
	err := s.enter(from)
	if err == nil {
		defer s.leave(from)
		err = s.serve(ctx, from, st, out)
	}
	last := frame(frameDone, nil)
	if err != nil {
		s.log.Debug("add from peer failed", "peer", from, "err", err)
		if last, err = faultFrame(err); err != nil {
			s.log.Error("cannot tell a fault", "peer", from, "err", err)
		}
	}
	if err := out.write(last); err != nil {
		s.log.Debug("peer has gone before the answer", "peer", from, "err", err)
		st.Reset()
		return
	}
	st.Close()
}

func (s *Server) enter(from peer.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return api.Unavailable.Errorf("this peer is stopping")
	case s.streams[from] >= s.o.StreamsPerPeer:
		return api.Unavailable.Errorf("%d adds from this peer are in progress already", s.streams[from])
	case s.total >= s.o.Streams:
		return api.Unavailable.Errorf("%d adds are in progress already", s.total)
	}
	s.total++
	s.streams[from]++
	s.running.Add(1)
	return nil
}

func (s *Server) leave(from peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.streams[from]--; s.streams[from] == 0 {
		delete(s.streams, from)
	}
	s.running.Done()
}

// serve serves one add. However long the store takes, the client hears of us.
func (s *Server) serve(ctx context.Context, from peer.ID, st network.Stream, out *answers) error {
	if err := s.allow(ctx, from); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	g.Go(func() error {
		defer close(done)
		return s.take(ctx, st, out)
	})
	g.Go(func() error { return out.beat(done, s.o.Beat) })
	return g.Wait()
}

// take takes in one add, from its opening to its end.
func (s *Server) take(ctx context.Context, st network.Stream, out *answers) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &patient{st: st, idle: s.o.Idle}
	p.until(ctx)
	in := bufio.NewReaderSize(p, 64<<10)
	size, err := readOpen(in)
	if err != nil {
		return err
	}
	add, err := s.store.OpenAdd(ctx, size)
	if err != nil {
		return err
	}
	defer add.Abort()
	if err := out.write(countFrame(frameGranted, s.o.Window)); err != nil {
		return err
	}
	root, err := s.receive(ctx, p, in, out, add)
	if err != nil {
		return err
	}
	return add.Commit(ctx, root)
}

// receive stores blocks until the end frame: one goroutine reads the next batch
// while another stores the last one.
func (s *Server) receive(ctx context.Context, p *patient, in *bufio.Reader, out *answers, add Add) (root api.Cid, err error) {
	g, ctx := errgroup.WithContext(ctx)
	p.until(ctx)
	batches := make(chan batch)
	g.Go(func() (err error) {
		defer close(batches)
		root, err = s.read(ctx, in, batches)
		return err
	})
	g.Go(func() error {
		for b := range batches {
			err := add.Put(ctx, b.blocks)
			s.memory.Release(b.bytes)
			if err != nil {
				return err
			}
			if err := out.ack(b.bytes); err != nil {
				return err
			}
		}
		return nil
	})
	err = g.Wait()
	return root, err
}

// batch is blocks, and the bytes of Server.memory that whoever holds it releases.
type batch struct {
	blocks []blocks.Block
	bytes  int64
}

// read hands batches on until the end frame, whose root it returns.
func (s *Server) read(ctx context.Context, in *bufio.Reader, out chan<- batch) (api.Cid, error) {
	var b batch
	defer func() { s.memory.Release(b.bytes) }()
	flush := func() error {
		if len(b.blocks) == 0 {
			return nil
		}
		select {
		case out <- b:
			b = batch{}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		t, n, err := readHeader(in)
		if err != nil {
			return api.CidUndef, gone(err)
		}
		switch t {
		case frameBlock:
			// Nobody waits for memory while holding some, or all could wait for each other.
			if !s.memory.TryAcquire(int64(n)) {
				if err := flush(); err != nil {
					return api.CidUndef, err
				}
				if err := s.memory.Acquire(ctx, int64(n)); err != nil {
					return api.CidUndef, err
				}
			}
			b.bytes += int64(n)
			p, err := readPayload(in, n)
			if err != nil {
				return api.CidUndef, gone(err)
			}
			block, err := parseBlock(p)
			if err != nil {
				return api.CidUndef, err
			}
			b.blocks = append(b.blocks, block)
			if b.bytes >= batchBytes || len(b.blocks) >= batchBlocks {
				if err := flush(); err != nil {
					return api.CidUndef, err
				}
			}
		case frameAlive:
		case frameEnd:
			p, err := readPayload(in, n)
			if err != nil {
				return api.CidUndef, gone(err)
			}
			root, err := parseRoot(p)
			if err != nil {
				return api.CidUndef, err
			}
			return root, flush()
		default:
			return api.CidUndef, api.Invalid.Errorf("a frame of type %d among the blocks", t)
		}
	}
}

// answers is what the server says on a stream.
type answers struct {
	st   network.Stream
	idle time.Duration

	mu     sync.Mutex // guards writing, and what follows
	stored int64      // bytes
}

func (a *answers) write(frame []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writeLocked(frame)
}

func (a *answers) writeLocked(frame []byte) error {
	if err := a.st.SetWriteDeadline(time.Now().Add(a.idle)); err != nil {
		return err
	}
	_, err := a.st.Write(frame)
	return err
}

// ack tells that more bytes are stored.
func (a *answers) ack(more int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stored += more
	return a.writeLocked(countFrame(frameAck, a.stored))
}

// beat repeats the count every so often until done is closed.
func (a *answers) beat(done <-chan struct{}, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
			if err := a.ack(0); err != nil {
				return err
			}
		}
	}
}

func readOpen(in *bufio.Reader) (size uint64, err error) {
	t, n, err := readHeader(in)
	if err != nil {
		return 0, gone(err)
	}
	if t != frameOpen {
		return 0, api.Invalid.Errorf("a frame of type %d instead of the opening", t)
	}
	p, err := readPayload(in, n)
	if err != nil {
		return 0, gone(err)
	}
	var o open
	if err := api.Decode(p, &o); err != nil {
		return 0, err
	}
	return o.Size, nil
}

// gone tells that the other side broke off, unless err already says what is wrong.
func gone(err error) error {
	if api.KindOf(err) != api.Internal {
		return err
	}
	return api.Unavailable.Errorf("the add broke off: %w", err)
}

// patient reads from a stream until its context ends or nothing has come for idle.
type patient struct {
	st   network.Stream
	idle time.Duration
	ctx  context.Context // of one stage of an add
	set  time.Time       // when the deadline was last moved
}

// until makes reading end with ctx, which must end itself once reading is over.
func (p *patient) until(ctx context.Context) {
	p.ctx = ctx
	context.AfterFunc(ctx, func() { _ = p.st.SetReadDeadline(time.Unix(1, 0)) })
}

// Read implements io.Reader. It looks at the context after moving the deadline, so
// that the end of it, which moves the deadline into the past, is never undone.
func (p *patient) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.set) > p.idle/8 {
		if err := p.st.SetReadDeadline(now.Add(p.idle)); err != nil {
			return 0, err
		}
		p.set = now
	}
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.st.Read(b)
	if err != nil && p.ctx.Err() != nil {
		return n, fmt.Errorf("%w: %w", p.ctx.Err(), err)
	}
	return n, err
}
