package feed

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

const patience = 15 * time.Second

func TestVisits_AreRareOnceThereIsNoPlace(t *testing.T) {
	now := time.Now()
	v := newVisits(now, time.Time{}, patience)
	if !v.due(now) {
		t.Error("one that starts calls no member")
	}
	v.made(now, false)
	v.look(now.Add(VisitEvery/2), true, false)
	if v.due(now.Add(VisitEvery / 2)) {
		t.Error("one that was refused is back soon")
	}
	again := newVisits(now.Add(time.Hour), v.refused, patience)
	again.look(now.Add(2*time.Hour), true, false)
	if again.due(now.Add(2 * time.Hour)) {
		t.Error("one that was refused is back as it starts again")
	}
	if late := now.Add(VisitEvery * 5 / 4); !v.due(late) || !again.due(late) {
		t.Error("one that was refused never comes back")
	}
	for range 1000 { // what it claims is kept for a day
		if v.made(now, false); v.next.Sub(now) < 35*time.Hour || v.next.Sub(now) > 45*time.Hour {
			t.Fatalf("the next visit is in %v", v.next.Sub(now))
		}
	}
	if ahead := newVisits(now, now.Add(time.Hour), patience); !ahead.due(now) {
		t.Error("a clock that was ahead keeps a follower away")
	}
	v.made(now, true)
	v.lost(now)
	if !v.due(now.Add(lostWait)) {
		t.Error("one that lost its place does not ask for it")
	}
}

// What its neighbours do not give, a follower asks members for, soon and then seldom.
func TestVisits_AreMadeForWhatIsWanted(t *testing.T) {
	for _, c := range []struct {
		name          string
		getsOn, lacks bool
		within        time.Duration
	}{
		{"it hears nothing", false, false, (stuckAfter + stuckSpread) * patience},
		{"it lacks content", true, true, wantMin},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin, watched := time.Now(), 10*time.Hour
			v := newVisits(begin, time.Time{}, patience)
			v.made(begin, false)
			v.again = backoff{} // that was long ago
			var made []time.Duration
			for now := begin; now.Before(begin.Add(watched)); now = now.Add(time.Minute) {
				v.look(now, c.getsOn, c.lacks)
				if v.due(now) {
					made = append(made, now.Sub(begin))
					wait := max(2*v.again.wait, wantMin)
					v.again = backoff{now.Add(min(wait, wantMax)), min(wait, wantMax)}
				}
			}
			if len(made) == 0 || made[0] > c.within+time.Minute {
				t.Errorf("visits after %v, want the first within %v", made, c.within)
			}
			if len(made) > 8 {
				t.Errorf("%d visits in %v", len(made), watched)
			}
			v.look(begin.Add(watched), true, false)
			if v.due(begin.Add(watched)) {
				t.Error("it goes on though it has what it wants")
			}
		})
	}
}

func TestBook_RemembersThatItWasRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), bookFile)
	reopen := func() *book {
		t.Helper()
		b, err := openBook(file, nil, feedLog())
		check(t, err)
		return b
	}
	b := reopen()
	if !b.refused.IsZero() {
		t.Errorf("a new book says it was refused at %v", b.refused)
	}
	at := time.Now().Truncate(time.Second)
	b.refused = at
	b.save()
	if b = reopen(); !b.refused.Equal(at) {
		t.Errorf("refused at %v, the book says %v", at, b.refused)
	}
	b.refused = time.Time{}
	b.save()
	if b = reopen(); !b.refused.IsZero() {
		t.Errorf("there is a place, the book says it was refused at %v", b.refused)
	}
}

// A follower that finds no place at any member has the pinset from another follower, and is
// told where the members' content is while it lacks some.
func TestFollower_WithoutAPlaceHasAllAllTheSame(t *testing.T) {
	w := emptyWorld(t)
	w.rooms = 1
	m := w.addMember()
	w.pin(0, 2000)
	first := w.follow(FollowerOptions{})
	w.same(first)
	eventually(t, "the place is taken", func() bool { return len(m.host.Guests()) == 1 })
	met := make(chan Peer, 1)
	second := w.follow(FollowerOptions{Lacks: func() bool { return true }, Met: func(p Peer) {
		if p.Member {
			select {
			case met <- p:
			default:
			}
		}
	}})
	w.same(second)
	w.pin(2000, 2100)
	w.same(first, second)
	select {
	case p := <-met:
		if p.ID != m.id.ID {
			t.Errorf("it met %s", p.ID)
		}
	case <-time.After(time.Minute):
		t.Error("it met no member")
	}
	if got := m.host.Guests(); len(got) != 1 || got[0] != first.id.ID {
		t.Errorf("guests are %v, want %s", got, first.id.ID)
	}
	second.stop()
	if _, err := os.Stat(filepath.Join(second.dir, refusedFile)); err != nil {
		t.Errorf("it is not noted that there was no place: %v", err)
	}
}
