package p2p

import (
	"context"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// limitChunk is how many bytes of a stream are let through at a time, so that all
	// have their share of what there is.
	limitChunk = 16 << 10

	// guestCost is what a byte of others costs beside one of members: while both have
	// something to pass, members have four fifths of the line.
	guestCost = 4

	memberClass, guestClass = "members", "guests"
)

// bandwidth bounds what all streams of a host carry together, each way. Members come
// before guests; members share by peer, guests by address and then by peer.
type bandwidth struct {
	ctx      context.Context // ends with the host
	stop     context.CancelFunc
	isMember func(peer.ID) bool
	in, out  *line         // nil without a bound
	came     atomic.Uint64 // bytes read so far, where there is a bound
}

// newBandwidth returns a bound of bytes a second each way; 0 is none.
func newBandwidth(bytes uint64, isMember func(peer.ID) bool) *bandwidth {
	b := &bandwidth{isMember: isMember}
	if bytes > 0 {
		b.in, b.out = newLine(bytes), newLine(bytes)
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// limit returns s within the bound.
func (b *bandwidth) limit(s network.Stream) network.Stream {
	if b.in == nil {
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
	if e := s.wait(s.all.in, n); err == nil {
		err = e
	}
	return n, err
}

// Write implements network.Stream.
func (s *limitedStream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), limitChunk)]
		if err = s.wait(s.all.out, len(part)); err != nil {
			return n, err
		}
		var done int
		done, err = s.Stream.Write(part)
		n, p = n+done, p[len(part):]
	}
	return n, err
}

// wait waits for a turn of so many bytes. A connection may become known as a member's later.
func (s *limitedStream) wait(l *line, bytes int) error {
	if bytes == 0 {
		return s.all.ctx.Err()
	}
	c := s.Conn()
	id := c.RemotePeer()
	who := []string{memberClass, string(id)}
	if !s.all.isMember(id) {
		who = []string{guestClass, addressKey(c.RemoteMultiaddr()), string(id)}
	}
	return l.wait(s.all.ctx, who, bytes, c.IsClosed)
}
