package p2p

import (
	"context"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"
)

// limitChunk is how many bytes of a stream are let through at a time, so that all
// streams get their share of what there is.
const limitChunk = 16 << 10

// bandwidth bounds what all streams of a host carry together, each way.
type bandwidth struct {
	ctx     context.Context // ends with the host
	stop    context.CancelFunc
	in, out *rate.Limiter
	came    atomic.Uint64 // bytes read so far, where there is a bound
}

// newBandwidth returns a bound of bytes a second each way; 0 is none.
func newBandwidth(bytes uint64) *bandwidth {
	b := &bandwidth{in: rate.NewLimiter(rate.Inf, 0), out: rate.NewLimiter(rate.Inf, 0)}
	if bytes > 0 {
		b.in, b.out = rate.NewLimiter(rate.Limit(bytes), limitChunk), rate.NewLimiter(rate.Limit(bytes), limitChunk)
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// limit returns s within the bound.
func (b *bandwidth) limit(s network.Stream) network.Stream {
	if b.in.Limit() == rate.Inf {
		return s
	}
	return &limitedStream{s, b}
}

// limitedStream waits its turn after what it read and before what it writes. The other
// end is slowed by the stream's window.
type limitedStream struct {
	network.Stream
	all *bandwidth
}

// Read implements network.Stream.
func (s *limitedStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p[:min(len(p), limitChunk)])
	s.all.came.Add(uint64(n))
	if e := s.all.in.WaitN(s.all.ctx, n); err == nil {
		err = e
	}
	return n, err
}

// Write implements network.Stream.
func (s *limitedStream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), limitChunk)]
		if err = s.all.out.WaitN(s.all.ctx, len(part)); err != nil {
			return n, err
		}
		var done int
		done, err = s.Stream.Write(part)
		n, p = n+done, p[len(part):]
	}
	return n, err
}
