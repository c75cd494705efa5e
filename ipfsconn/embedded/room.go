package embedded

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// room is memory for large messages, of guests and for them. They share it by address: where none
// is left, who needs some takes the places of those addresses that have most, while they have more
// than its own would. So who trickles, or takes nothing, keeps out nobody who needs little.
type room struct {
	all int // bytes

	mu    sync.Mutex
	in    map[*place]bool // whether they are about to leave: another has their room
	freed chan struct{}   // closed and made anew when somebody leaves
}

// A place is what one message has of it.
type place struct {
	bytes   int
	address string
	gone    func() bool // whether its guest is
	lose    func()      // has the message end, wherever it waits, and leave
}

func newRoom(bytes int) *room {
	return &room{all: bytes, in: map[*place]bool{}, freed: make(chan struct{})}
}

// take returns once there is room for p, which has to leave. It fails once ctx ends or p's guest
// has gone.
func (r *room) take(ctx context.Context, p *place) error {
	for {
		if p.gone() { // it may have lost its room for another
			return errClosed
		}
		ok, lost, freed := r.enter(p)
		if ok {
			return nil
		}
		for _, other := range lost {
			other.lose()
		}
		select {
		case <-freed:
		case <-time.After(goneTick):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter lets p in. Where there is no room it tells who is to lose its own for that; nobody where p
// has to wait.
func (r *room) enter(p *place) (ok bool, lost []*place, freed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	total, by := p.bytes, map[string]int{p.address: p.bytes}
	need := p.bytes - r.all
	var stay []*place
	for o, leaves := range r.in {
		total += o.bytes
		if !leaves {
			need += o.bytes
			by[o.address] += o.bytes
			stay = append(stay, o)
		}
	}
	if total <= r.all {
		r.in[p] = false
		return true, nil, nil
	}
	for need > 0 {
		if len(stay) == 0 {
			return false, nil, r.freed
		}
		most := slices.MaxFunc(stay, func(a, b *place) int {
			return cmp.Or(by[a.address]-by[b.address], a.bytes-b.bytes)
		})
		if by[most.address] <= by[p.address] { // the rest would be lost for nothing
			return false, nil, r.freed
		}
		stay = slices.DeleteFunc(stay, func(o *place) bool { return o == most })
		need -= most.bytes
		by[most.address] -= most.bytes
		lost = append(lost, most)
	}
	for _, o := range lost {
		r.in[o] = true
	}
	return false, lost, r.freed
}

func (r *room) leave(p *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.in, p)
	close(r.freed)
	r.freed = make(chan struct{})
}
