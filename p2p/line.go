package p2p

import (
	"context"
	"sync"
	"time"
)

// A line is one way of what a host carries, so many bytes a second. Those that have
// something to pass wait for their turn. Shares say whose it is: what nobody else wants
// anybody may have, and who comes has its share from the next turn on.
type line struct {
	rate float64       // bytes a second
	late time.Duration // a turn may come so late and nothing is lost; so much passes at once after a rest

	mu    sync.Mutex
	all   share
	until time.Time // when what had its turn has passed
	timer bool      // runs: somebody waits
}

func newLine(bytes uint64) *line {
	chunk := time.Duration(limitChunk / float64(bytes) * float64(time.Second))
	return &line{rate: float64(bytes), late: max(chunk, 5*time.Millisecond)}
}

// A turn is what somebody waits for.
type turn struct {
	bytes int
	gone  func() bool // nobody waits any more; does not block
	came  chan struct{}
}

// wait returns when so many bytes of who may pass: first comes the class, as that of guests,
// and then what a class shares its part between. It fails when ctx ends.
func (l *line) wait(ctx context.Context, who []string, bytes int, gone func() bool) error {
	t := &turn{bytes: bytes, gone: gone, came: make(chan struct{})}
	l.mu.Lock()
	l.all.add(t, who)
	if !l.timer {
		l.grant()
	}
	l.mu.Unlock()
	select {
	case <-t.came:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// grant lets through what there is room for, and comes again for the rest. Under mu.
func (l *line) grant() {
	now := time.Now()
	if earliest := now.Add(-l.late); l.until.Before(earliest) {
		l.until = earliest
	}
	for l.all.waits > 0 && !l.until.After(now) {
		t, bytes := l.all.take()
		l.until = l.until.Add(time.Duration(float64(bytes) / l.rate * float64(time.Second)))
		close(t.came)
	}
	if l.timer = l.all.waits > 0; l.timer {
		time.AfterFunc(l.until.Sub(now), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.grant()
		})
	}
}

// A share is what a class, an address or a peer has of a line, or is the whole line. Among its
// parts the turn is that of the one that would have had least after it: who says little does
// not wait for those that say much. Who was away has nothing saved. (Weighted fair queueing,
// with the virtual time of WF2Q+.)
type share struct {
	cost  float64 // of a byte
	had   float64 // bytes, by what they cost
	waits int     // turns

	turns []*turn // in order, where it has no parts
	parts map[string]*share
	first *share  // the part whose turn is next, where any waits
	now   float64 // what a part has had that always waited
}

// add has t wait among the parts that who names.
func (s *share) add(t *turn, who []string) {
	s.waits++
	if len(who) == 0 {
		s.turns = append(s.turns, t)
		return
	}
	part := s.parts[who[0]]
	if part == nil {
		part = newShare(who[0])
		if s.parts == nil {
			s.parts = map[string]*share{}
		}
		s.parts[who[0]] = part
	}
	if part.waits == 0 {
		part.had = max(part.had, s.now)
	}
	part.add(t, who[1:])
	if s.first == nil || part.after() < s.first.after() {
		s.first = part
	}
}

func newShare(name string) *share {
	if name == guestClass {
		return &share{cost: guestCost}
	}
	return &share{cost: 1}
}

// after is what s will have had after its next turn. There is one.
func (s *share) after() float64 { return s.had + s.cost*float64(s.next().bytes) }

func (s *share) next() *turn {
	for s.first != nil {
		s = s.first
	}
	return s.turns[0]
}

// take takes the next turn out, and tells how many bytes are to pass. There is one.
func (s *share) take() (t *turn, bytes int) {
	s.waits--
	if s.first == nil {
		t, s.turns = s.turns[0], s.turns[1:]
		if t.gone() {
			return t, 0
		}
		return t, t.bytes
	}
	served := s.first
	t, bytes = served.take()
	cost := served.cost * float64(bytes)
	served.had += cost
	s.first = nil
	waited, least := 1, served.had
	for name, part := range s.parts {
		switch {
		case part.waits == 0:
			if part.had <= s.now { // a new one begins there
				delete(s.parts, name)
			}
			continue
		case part != served:
			waited++
		}
		least = min(least, part.had)
		if s.first == nil || part.after() < s.first.after() {
			s.first = part
		}
	}
	s.now = max(s.now+cost/float64(waited), least)
	return t, bytes
}
