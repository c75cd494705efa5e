package transfer

import (
	"bufio"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// Client opens adds on other peers.
type Client struct {
	h     host.Host
	idle  time.Duration // a server that stores nothing for so long has failed
	stall time.Duration // one that says nothing for so long is gone
}

// defaultStall is some beats of the server: a peer that is frozen, or whose machine
// is, keeps its connections for much longer.
const defaultStall = 5 * defaultBeat

// NewClient returns a Client that uses the data host h.
func NewClient(h host.Host) *Client {
	return &Client{h: h, idle: defaultIdle, stall: defaultStall}
}

// Send opens an add of about size bytes, 0 where nobody knows, on the data host to.
// Errors have the kind and text that the other side gave, Full where it has no room;
// Unavailable where it cannot be reached, gives no sign of life for ten seconds or
// stores nothing for two minutes. ctx bounds the opening only. The caller must end the
// Add by Commit or Abort.
func (c *Client) Send(ctx context.Context, to peer.ID, size uint64) (Add, error) {
	p, err := api.Encode(open{Size: size})
	if err != nil {
		return nil, err
	}
	st, err := c.newStream(ctx, to)
	if err != nil {
		return nil, api.Unavailable.Errorf("open an add on data host %s: %w", to, err)
	}
	r := &remote{st: st, to: to, idle: c.idle, stall: c.stall, out: bufio.NewWriterSize(st, 64<<10),
		heard: make(chan struct{}, 1), over: make(chan struct{})}
	r.g.Go(r.listen)
	r.g.Go(r.keepAlive)
	r.g.Go(r.watch)
	if err := r.open(ctx, p); err != nil {
		r.Abort()
		return nil, err
	}
	return r, nil
}

// newStream waits for the other side's answer no longer than for any other.
func (c *Client) newStream(ctx context.Context, to peer.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.stall, fmt.Errorf("no sign of life for %s", c.stall))
	defer cancel()
	st, err := c.h.NewStream(ctx, to, Protocol)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return st, err
}

// remote is an add on another peer. One goroutine listens to what that peer says,
// one tells it that we live while there is nothing to send, and one watches that it
// does.
type remote struct {
	st    network.Stream
	to    peer.ID
	idle  time.Duration
	stall time.Duration
	g     errgroup.Group
	sent  int64 // payload bytes of the blocks sent

	mu    sync.Mutex // guards what follows
	out   *bufio.Writer
	wrote time.Time // when the deadline was last moved

	frames atomic.Uint64 // frames of the other side
	heard  chan struct{} // has an item after any of them
	state  sync.Mutex    // guards what follows
	ready  bool          // granted
	room   int64         // payload bytes that may have been sent by now
	ended  bool          // the end frame is on its way

	over chan struct{} // closed once err is what the add ended with, nil for done
	once sync.Once
	err  error
}

// end settles how the add ended; the first call counts.
func (r *remote) end(err error) {
	r.once.Do(func() {
		r.err = err
		close(r.over)
	})
}

// fail returns what the add ended with, else err as the reason why it must.
func (r *remote) fail(err error) error {
	if r.isOver() && r.err != nil {
		return r.err
	}
	return api.Unavailable.Errorf("add on data host %s: %w", r.to, err)
}

func (r *remote) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// listen reads frames until the last one. It then resets the stream of a failed
// add, so that nobody stays in a write.
func (r *remote) listen() error {
	in := bufio.NewReader(r.st)
	var window, stored int64
	for {
		t, n, err := readHeader(in)
		if err != nil {
			r.end(r.fail(err))
			break
		}
		p, err := readPayload(in, n)
		if err != nil {
			r.end(r.fail(err))
			break
		}
		r.frames.Add(1)
		switch t {
		case frameGranted:
			window, err = parseCount(p)
		case frameAck:
			stored, err = parseCount(p)
		case frameDone:
			r.state.Lock()
			done := r.ended
			r.state.Unlock()
			if done {
				r.end(nil)
				return nil
			}
			err = api.Invalid.Errorf("add on data host %s: done before its end", r.to)
		case frameFault:
			fault := parseFault(p)
			err = api.KindOf(fault).Errorf("add on data host %s: %w", r.to, fault)
		default:
			err = api.Invalid.Errorf("add on data host %s: a frame of type %d", r.to, t)
		}
		if err != nil {
			r.end(err)
			break
		}
		r.state.Lock()
		r.ready, r.room = window > 0, window+stored
		r.state.Unlock()
		select {
		case r.heard <- struct{}{}:
		default:
		}
	}
	r.st.Reset()
	return nil
}

// await returns once what the other side said fulfils ok. It gives up when that side
// stores nothing more for limit, when ctx ends, or the add does.
func (r *remote) await(ctx context.Context, limit time.Duration, ok func() bool) error {
	still := time.NewTimer(limit)
	defer still.Stop()
	last := int64(-1)
	for {
		r.state.Lock()
		done, room := ok(), r.room
		r.state.Unlock()
		if done {
			return nil
		}
		if room > last {
			last = room
			still.Reset(limit)
		}
		select {
		case <-r.heard:
		case <-r.over:
			return r.err
		case <-still.C:
			return api.Unavailable.Errorf("add on data host %s: it has stored nothing for %s", r.to, limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *remote) holds(ok func() bool) bool {
	r.state.Lock()
	defer r.state.Unlock()
	return ok()
}

// watch gives the add up when the other side has been silent for too long, which ends
// what waits for it or writes to it. It counts by a clock that stands still while this
// process does.
func (r *remote) watch() error {
	const looks = 5
	tick := time.NewTicker(r.stall / looks)
	defer tick.Stop()
	var frames uint64
	for silent := 0; silent < looks; silent++ {
		select {
		case <-r.over:
			return nil
		case <-tick.C:
		}
		if now := r.frames.Load(); now > frames {
			frames, silent = now, 0
		}
	}
	r.end(api.Unavailable.Errorf("add on data host %s: no sign of life for %s", r.to, r.stall))
	r.st.Reset()
	return nil
}

func (r *remote) keepAlive() error {
	tick := time.NewTicker(r.idle / 4)
	defer tick.Stop()
	for {
		select {
		case <-r.over:
			return nil
		case <-tick.C:
		}
		// Who holds the lock is writing, which is sign of life enough.
		if !r.mu.TryLock() {
			continue
		}
		if time.Since(r.wrote) >= r.idle/4 {
			if err := r.write(appendHeader(nil, frameAlive, 0), nil); err == nil {
				_ = r.out.Flush() // an error stays in the writer for the next Put
			}
		}
		r.mu.Unlock()
	}
}

// write puts a frame's header and data into the writer. r.mu is held.
func (r *remote) write(header, data []byte) error {
	if now := time.Now(); now.Sub(r.wrote) > r.idle/8 {
		if err := r.st.SetWriteDeadline(now.Add(r.idle)); err != nil {
			return err
		}
		r.wrote = now
	}
	if _, err := r.out.Write(header); err != nil {
		return err
	}
	_, err := r.out.Write(data)
	return err
}

func (r *remote) open(ctx context.Context, payload []byte) error {
	defer context.AfterFunc(ctx, func() { r.st.Reset() })()
	if err := r.send(frame(frameOpen, payload)); err != nil {
		return reason(ctx, err)
	}
	return reason(ctx, r.await(ctx, r.idle, func() bool { return r.ready }))
}

// send writes a whole frame, and all that waits in the writer.
func (r *remote) send(frame []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.write(frame, nil); err != nil {
		return r.fail(err)
	}
	if err := r.out.Flush(); err != nil {
		return r.fail(err)
	}
	return nil
}

// Put implements Add. It returns when the blocks are on their way, at most a window
// ahead of what the other side has stored, so an error may be about an earlier one.
func (r *remote) Put(ctx context.Context, bs []blocks.Block) error {
	defer context.AfterFunc(ctx, func() { r.st.Reset() })()
	for _, b := range bs {
		if err := r.put(ctx, b); err != nil {
			return reason(ctx, err)
		}
	}
	return reason(ctx, r.send(nil))
}

// reason prefers the end of ctx to the failures that come of it.
func reason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (r *remote) put(ctx context.Context, b blocks.Block) error {
	if r.isOver() {
		return r.fail(nil)
	}
	c, data := b.Cid().Bytes(), b.RawData()
	if len(data) > MaxBlock || len(c) > maxCid {
		return api.TooLarge.Errorf("block %s has %d bytes, over %d", b.Cid(), len(data), MaxBlock)
	}
	r.sent += int64(len(c) + len(data))
	fits := func() bool { return r.sent <= r.room }
	if !r.holds(fits) {
		// What is still in the writer is what the other side waits for.
		if err := r.send(nil); err != nil {
			return err
		}
		if err := r.await(ctx, r.idle, fits); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.write(append(appendHeader(nil, frameBlock, len(c)+len(data)), c...), data); err != nil {
		return r.fail(err)
	}
	return nil
}

// commitLimit is how long a peer that lives may take to make an add durable.
const commitLimit = time.Hour

// Commit implements Add.
func (r *remote) Commit(ctx context.Context, root api.Cid) error {
	defer r.Abort()
	defer context.AfterFunc(ctx, func() { r.st.Reset() })()
	if r.isOver() {
		return r.fail(nil)
	}
	r.state.Lock()
	r.ended = true
	r.state.Unlock()
	var c []byte
	if root.Defined() {
		c = root.Bytes()
	}
	err := r.send(frame(frameEnd, c))
	if err == nil {
		err = r.await(ctx, commitLimit, func() bool { return false })
	}
	if api.KindOf(err) == api.Unavailable {
		return api.Unknown.Errorf("%w; whether it was committed is not known", err)
	}
	return err
}

// Abort implements Add.
func (r *remote) Abort() error {
	if r.isOver() && r.err == nil {
		r.st.Close()
	} else {
		r.st.Reset()
	}
	r.end(api.Unavailable.Errorf("add on data host %s: given up", r.to))
	return r.g.Wait()
}
