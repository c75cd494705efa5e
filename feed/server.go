package feed

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
)

// Limits on what is answered. Who does not read loses its stream.
const (
	streamsEach = 12               // of one peer
	streamsEasy = 96               // of all: beyond, who has
	streamsFew  = 3                // gets no more, and others still get theirs
	requestTime = 5 * time.Second  // for a request to arrive
	frameTime   = 10 * time.Second // for the asker to take a frame
	answerTime  = time.Minute      // for the whole answer
)

// A source is what a peer answers from. What send returns ends the answer.
type source interface {
	hello(ctx context.Context, from api.PeerID, h hello) (hello, error)
	since(ctx context.Context, index uint64, digest [32]byte, send func([]byte) error) error
	root(ctx context.Context) ([]byte, error)
	page(ctx context.Context, hash []byte) ([]byte, error)
	coverage(ctx context.Context) ([]byte, error)
	// member answers what only members may ask.
	member(ctx context.Context, req request) ([]byte, error)
}

// streams answers the streams of others.
type streams struct {
	net   Network
	src   source
	bytes *rate.Limiter // that strangers are given; nil: no limit
	log   *slog.Logger

	allowances *allowances

	mu   sync.Mutex
	open int
	by   map[api.PeerID]int
}

func newStreams(n Network, src source, bandwidth uint64, log *slog.Logger) *streams {
	s := &streams{net: n, src: src, log: log, allowances: newAllowances(), by: map[api.PeerID]int{}}
	if bandwidth > 0 {
		s.bytes = rate.NewLimiter(rate.Limit(bandwidth), 2*maxFrame)
	}
	return s
}

// run answers until ctx ends.
func (s *streams) run(ctx context.Context) error {
	l, err := s.net.Listen()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var answers errgroup.Group
	for {
		c, err := l.Accept()
		if err != nil {
			l.Close()
			if errors.Is(err, net.ErrClosed) {
				err = nil
			}
			return errors.Join(err, answers.Wait())
		}
		answers.Go(func() error {
			defer c.Close()
			s.serve(ctx, c)
			return nil
		})
	}
}

// serve answers a stream, if its peer may have one more, or may after a while: one that
// has ended for the peer may not have here. Who is refused at once is quick to come again.
// The network bounds how many streams are open.
func (s *streams) serve(ctx context.Context, c net.Conn) {
	from, err := peer.Decode(c.RemoteAddr().String())
	enters := func() bool { return err == nil && s.enter(from) }
	if !enters() && (sleep(ctx, askWait) != nil || !enters()) {
		s.log.Debug("stream refused", "peer", from, "err", cmp.Or(err, errBusy))
		return
	}
	defer s.leave(from)
	if err := s.answer(ctx, from, c); err != nil {
		s.log.Debug("stream broken", "peer", from, "err", err)
	}
}

func (s *streams) enter(id api.PeerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.by[id]; n >= streamsEach || n >= streamsFew && s.open >= streamsEasy {
		return false
	}
	s.open++
	s.by[id]++
	return true
}

func (s *streams) leave(id api.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.by[id]--; s.by[id] == 0 {
		delete(s.by, id)
	}
}

func (s *streams) answer(ctx context.Context, from api.PeerID, c net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	if err := c.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	req, err := readRequest(c)
	if err != nil && api.KindOf(err) != api.Invalid {
		return err // it cannot be told
	}
	out := &answerer{ctx: ctx, c: c, bytes: s.bytes}
	if err == nil {
		err = s.allow(ctx, from, req.Op)
	}
	if err == nil {
		err = s.dispatch(ctx, from, req, out.data)
	}
	if out.err != nil {
		return out.err
	}
	if err != nil {
		return out.frame(frameFault, encodeFault(err))
	}
	return out.frame(frameEnd, nil)
}

func (s *streams) isGuest(id api.PeerID) bool { return slices.Contains(s.net.Guests(), id) }

func (s *streams) isMember(ctx context.Context, id api.PeerID) bool {
	return s.net.Check(ctx, id) == nil
}

func (s *streams) dispatch(ctx context.Context, from api.PeerID, req request, send func([]byte) error) error {
	if req.Op >= opStatus {
		if err := s.net.Check(ctx, from); err != nil {
			return api.Denied.Errorf("members only may ask that")
		}
	} else if req.Op != opHello && !s.isGuest(from) && !s.isMember(ctx, from) {
		return api.Denied.Errorf("say hello first; where there is no room, ask the neighbours told then")
	}
	var b []byte
	var err error
	switch req.Op {
	case opHello:
		if req.Hello == nil {
			return api.Invalid.Errorf("a hello that says nothing")
		}
		var h hello
		if h, err = s.src.hello(ctx, from, *req.Hello); err == nil {
			b, err = api.Encode(h)
		}
	case opSince:
		d, err := digest(req.Digest)
		if err != nil {
			return err
		}
		return s.src.since(ctx, req.Index, d, send)
	case opRoot:
		b, err = s.src.root(ctx)
	case opPage:
		b, err = s.src.page(ctx, req.Hash)
	case opCoverage:
		b, err = s.src.coverage(ctx)
	case opStatus, opPinStatuses, opChallenge:
		b, err = s.src.member(ctx, req)
	default:
		return api.Unsupported.Errorf("a question of kind %d", req.Op)
	}
	if err != nil {
		return err
	}
	return send(b)
}

// An answerer writes the frames of one answer.
type answerer struct {
	ctx   context.Context // of the answer
	c     net.Conn
	bytes *rate.Limiter
	sent  int
	err   error // the first of writing
}

var errEnough = api.TooLarge.Errorf("the answer is as long as it may be")

// data writes a part of the answer. After errEnough it can go on with an end.
func (a *answerer) data(b []byte) error {
	if a.sent += len(b); a.sent > maxAnswer {
		return errEnough
	}
	if a.bytes != nil {
		if a.err = a.bytes.WaitN(a.ctx, len(b)); a.err != nil {
			return a.err
		}
	}
	return a.frame(frameData, b)
}

func (a *answerer) frame(kind byte, b []byte) error {
	if a.err = a.c.SetWriteDeadline(time.Now().Add(frameTime)); a.err == nil {
		_, a.err = a.c.Write(appendFrame(nil, kind, b))
	}
	return a.err
}
