package embedded

import (
	"cmp"
	"sync"
	"time"
)

// room is memory for large messages. Those that send them share it by address: where none is
// left, who needs some takes the place of one of the address that has most, if that has more
// than its own would. So who trickles keeps out nobody who needs little.
type room struct {
	all int // bytes

	mu    sync.Mutex
	in    map[*sievedStream]place
	freed chan struct{} // closed and made anew when somebody leaves
}

// A place is what one message has of it.
type place struct {
	bytes   int
	address string
}

func newRoom(bytes int) *room {
	return &room{all: bytes, in: map[*sievedStream]place{}, freed: make(chan struct{})}
}

// take returns once s has a place, which it has to leave. It fails once s has gone.
func (r *room) take(s *sievedStream, p place) error {
	for {
		lost, freed := r.enter(s, p)
		if lost == nil {
			return nil
		}
		if lost != s {
			lost.lose()
		}
		select {
		case <-freed:
		case <-time.After(goneTick): // s may have gone
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if s.Conn().IsClosed() {
			return errClosed
		}
	}
}

// enter gives s a place. Where there is none it tells who is to lose its own for that, s
// if nobody is.
func (r *room) enter(s *sievedStream, p place) (lost *sievedStream, freed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	total, by := p.bytes, map[string]int{p.address: p.bytes}
	for _, other := range r.in {
		total += other.bytes
		by[other.address] += other.bytes
	}
	if total <= r.all {
		r.in[s] = p
		return nil, nil
	}
	lost, most := s, p
	for other, o := range r.in {
		if o.bytes >= total-r.all && cmp.Or(by[o.address]-by[most.address], o.bytes-most.bytes) > 0 {
			lost, most = other, o
		}
	}
	return lost, r.freed
}

func (r *room) leave(s *sievedStream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.in, s)
	close(r.freed)
	r.freed = make(chan struct{})
}
