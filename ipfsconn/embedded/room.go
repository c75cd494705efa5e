package embedded

import (
	"cmp"
	"sync"
	"time"
)

// room is memory for large messages. Those that send them share it by address: where none is
// left, who needs some takes the places of those addresses that have most, while they have more
// than its own would. So who trickles keeps out nobody who needs little.
type room struct {
	all int // bytes

	mu    sync.Mutex
	in    map[*sievedStream]*place
	freed chan struct{} // closed and made anew when somebody leaves
}

// A place is what one message has of it.
type place struct {
	bytes   int
	address string
	lost    bool // its message is about to leave
}

func newRoom(bytes int) *room {
	return &room{all: bytes, in: map[*sievedStream]*place{}, freed: make(chan struct{})}
}

// take returns once s has a place, which it has to leave. It fails once s has gone.
func (r *room) take(s *sievedStream, p place) error {
	for {
		ok, lost, freed := r.enter(s, p)
		if ok {
			return nil
		}
		for _, other := range lost {
			other.lose()
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

// enter gives s a place. Where there is none it tells who is to lose its own for that; nobody
// where s has to wait.
func (r *room) enter(s *sievedStream, p place) (ok bool, lost []*sievedStream, freed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	total, by := p.bytes, map[string]int{p.address: p.bytes}
	need := p.bytes - r.all
	for _, o := range r.in {
		total += o.bytes
		if !o.lost {
			need += o.bytes
			by[o.address] += o.bytes
		}
	}
	if total <= r.all {
		r.in[s] = &p
		return true, nil, nil
	}
	for need > 0 {
		one := r.most(by, p.address)
		if one == nil { // the rest would be lost for nothing
			for _, other := range lost {
				r.in[other].lost = false
			}
			return false, nil, r.freed
		}
		o := r.in[one]
		o.lost = true
		need -= o.bytes
		by[o.address] -= o.bytes
		lost = append(lost, one)
	}
	return false, lost, r.freed
}

// most is the largest of the messages of the address that has most, if that is more than
// another has; nil if not. It is called under mu.
func (r *room) most(by map[string]int, than string) (one *sievedStream) {
	for other, o := range r.in {
		if o.lost || by[o.address] <= by[than] {
			continue
		}
		if one == nil || cmp.Or(by[o.address]-by[r.in[one].address], o.bytes-r.in[one].bytes) > 0 {
			one = other
		}
	}
	return one
}

func (r *room) leave(s *sievedStream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.in, s)
	close(r.freed)
	r.freed = make(chan struct{})
}
