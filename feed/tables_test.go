package feed

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// shower is a neighbour that shows what tables it likes, as a member signed them.
type shower struct {
	source
	*intruder
	t     testing.TB
	table atomic.Pointer[[]byte]
}

func (w *world) show() *shower {
	s := &shower{intruder: w.intrude(), t: w.t}
	run(w.t, newStreams(s, s, 0, feedLog()).run)
	return s
}

func (s *shower) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	return hello{Admitted: s.Welcome(from)}, nil
}

func (s *shower) since(context.Context, uint64, [32]byte, func([]byte) error) error { return nil }

func (s *shower) root(context.Context) ([]byte, error) {
	return nil, api.NotFound.Errorf("there is none")
}

func (s *shower) coverage(context.Context) ([]byte, error) {
	if raw := s.table.Load(); raw != nil {
		return *raw, nil
	}
	return nil, api.NotFound.Errorf("there is none")
}

// signs has it show a table that the member signed at that time.
func (s *shower) signs(m *fullPeer, at time.Time) {
	body, err := api.Encode(Coverage{Time: at.Unix(), Followers: 1, Counts: make([]byte, 2*shareRanges)})
	check(s.t, err)
	raw, err := m.sign(kindCoverage, body)
	check(s.t, err)
	s.table.Store(&raw)
}

// amid is a follower whose neighbours are a member that has no table, and the showers. It
// hears nothing more.
func (w *world) amid(list ...*shower) *follower {
	o := FollowerOptions{Members: []peer.AddrInfo{info(w.members[0].host)}}
	for _, s := range list {
		o.Members = append(o.Members, info(s.host))
	}
	f := w.follow(o)
	w.same(f)
	eventually(w.t, "all are neighbours", func() bool { return len(f.Status().Neighbours) == len(o.Members) })
	eventually(w.t, "a member has told the time", func() bool { return !f.Status().Told.IsZero() })
	f.stops[0]()
	return f
}

// Old tables are as well signed as new ones: those of long ago count for nothing, nor does
// one of the future, and none replaces a newer one.
func TestFollower_TakesNoOldTable(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	s := w.show()
	f := w.amid(s)
	now := time.Now()
	for _, c := range []struct {
		what        string
		shown, want time.Duration // from now; 0: none
	}{
		{"one of yesterday", -24 * time.Hour, 0},
		{"one of tomorrow", 24 * time.Hour, 0},
		{"one of two hours ago", -2 * time.Hour, -2 * time.Hour},
		{"a newer one", -time.Hour, -time.Hour},
		{"the older one again", -2 * time.Hour, -time.Hour},
		{"one of yesterday beside it", -24 * time.Hour, -time.Hour},
		{"one of tomorrow beside it", 24 * time.Hour, -time.Hour},
	} {
		s.signs(w.members[0], now.Add(c.shown))
		table, err := f.Coverage(t.Context())
		if c.want == 0 {
			if api.KindOf(err) != api.NotFound {
				t.Errorf("%s: %v, want NotFound", c.what, err)
			}
			continue
		}
		check(t, err)
		if got := time.Unix(table.Time, 0); !got.Equal(now.Add(c.want).Truncate(time.Second)) {
			t.Errorf("%s: the table is that of %v, want %v", c.what, got.Sub(now), c.want)
		}
	}
	// What is too old is shown to nobody: the members' clocks go on.
	if _, err := f.coverage(t.Context()); err != nil {
		t.Error(err)
	}
	f.signedAt(t, 24*time.Hour)
	if _, err := f.coverage(t.Context()); api.KindOf(err) != api.NotFound {
		t.Errorf("a table of yesterday is passed on: %v", err)
	}
}

// signedAt has the follower hear a beacon that the first member signs, by a clock that is
// ahead of the follower's by that, once it has been silent for a while.
func (f *follower) signedAt(t *testing.T, ahead time.Duration) {
	t.Helper()
	d, m := f.st.Digest(), f.w.members[0]
	f.Follower.mu.Lock()
	f.words = words{}
	f.Follower.mu.Unlock()
	body, err := beacon{index: d.Index, digest: d.Pins, time: time.Now().Add(ahead)}.encode()
	check(t, err)
	raw, err := m.sign(kindBeacon, body)
	check(t, err)
	told, err := f.judge.read(raw)
	check(t, err)
	check(t, f.take(told))
}

// A table's age is by the members' clocks: those of the followers may be wrong.
func TestFollower_TellsTheAgeOfTablesByTheMembersClocks(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	s := w.show()
	f := w.amid(s)
	f.signedAt(t, 24*time.Hour)
	s.signs(w.members[0], time.Now())
	if _, err := f.Coverage(t.Context()); api.KindOf(err) != api.NotFound {
		t.Errorf("a table that is a day old: %v, want NotFound", err)
	}
	s.signs(w.members[0], time.Now().Add(24*time.Hour))
	if _, err := f.Coverage(t.Context()); err != nil {
		t.Errorf("a new table: %v", err)
	}
}

// Of those that have tables which are not young, the one with the newest is heard.
func TestFollower_TakesTheNewestTable(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	now := time.Now()
	var list []*shower
	for n := range 3 {
		s := w.show()
		s.signs(w.members[0], now.Add(-time.Duration(n+1)*time.Hour))
		list = append(list, s)
	}
	f := w.amid(list...)
	for range 8 { // they are asked in no order
		table, err := f.Coverage(t.Context())
		check(t, err)
		if got := now.Unix() - table.Time; got != 3600 {
			t.Fatalf("the table is %d seconds old, another has one of 3600", got)
		}
		f.Follower.mu.Lock()
		f.Follower.table = nil
		f.Follower.mu.Unlock()
	}
}

// With a young table nobody is asked: shares are chosen each minute while pins come.
func TestFollower_AsksForNoTableSoon(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	s := w.show()
	f := w.amid(s)
	now := time.Now()
	for _, c := range []struct {
		what        string
		shown, want time.Duration
	}{
		{"one of half an hour ago", -30 * time.Minute, -30 * time.Minute},
		{"a young one", -2 * time.Minute, -2 * time.Minute},
		{"a newer one", 0, -2 * time.Minute},
	} {
		s.signs(w.members[0], now.Add(c.shown))
		table, err := f.Coverage(t.Context())
		check(t, err)
		if got := time.Unix(table.Time, 0); !got.Equal(now.Add(c.want).Truncate(time.Second)) {
			t.Errorf("%s: the table is that of %v, want %v", c.what, got.Sub(now), c.want)
		}
	}
	f.signedAt(t, 10*time.Minute)
	if table, err := f.Coverage(t.Context()); err != nil || table.Time != now.Unix() {
		t.Errorf("10 minutes later the table is that of %v, want the newest: %v", time.Unix(table.Time, 0).Sub(now), err)
	}
}
