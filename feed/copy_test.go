package feed

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
)

// A first copy tells of how much it is to be, and goes on after a stop with what is there.
func TestFollower_FirstCopyTellsHowFarItIsAndGoesOn(t *testing.T) {
	const pins = 6000
	w := emptyWorld(t)
	line := rate.NewLimiter(300<<10, 64<<10) // bytes a second, lest all be there before the stop
	w.wrap = func(n Network) Network { return thin{n, line} }
	w.addMember()
	for i := 0; i < pins; i += 1000 {
		e := edit{name: strings.Repeat("x", 250)}
		for p := range 1000 {
			e.put = append(e.put, i+p)
		}
		w.commit(e)
	}
	f := w.follow(FollowerOptions{})
	var s FollowerStatus
	eventually(t, "some pages are there", func() bool {
		s = f.Status()
		return s.Total > 0 && f.st.Stats().Pins > 0
	})
	if s.Total != pins || s.Settled || s.Index != 0 {
		t.Errorf("while pages come: %+v", s)
	}
	f.stop()
	had := f.st.Stats().Pins
	line.SetLimit(rate.Inf)
	f.start()
	w.same(f)
	if f.copy.had < had || had == 0 || had == pins {
		t.Errorf("the copy began anew with %d pins, of %d that were there", f.copy.had, had)
	}
	if s = f.Status(); s.Total != 0 || s.Rate != 0 {
		t.Errorf("when it is whole: %+v", s)
	}
}

// thin is a network on which a peer answers no faster than its line.
type thin struct {
	Network
	line *rate.Limiter
}

func (n thin) Listen() (net.Listener, error) {
	l, err := n.Network.Listen()
	return thinListener{l, n.line}, err
}

type thinListener struct {
	net.Listener
	line *rate.Limiter
}

func (l thinListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return thinConn{c, l.line}, nil
}

type thinConn struct {
	net.Conn
	line *rate.Limiter
}

func (c thinConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		some := b[:min(len(b), c.line.Burst())]
		if err := c.line.WaitN(context.Background(), len(some)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(some)
		if n += m; err != nil {
			return n, err
		}
		b = b[m:]
	}
	return n, nil
}

func TestCopyRun_Rate(t *testing.T) {
	now := time.Now()
	c := copyRun{pins: 100, had: 10, began: now}
	for _, x := range []struct {
		pins  uint64
		after time.Duration
		want  float64
	}{{60, 2 * time.Second, 25}, {10, time.Second, 0}, {5, time.Second, 0}, {60, 0, 0}} {
		if got := c.rate(x.pins, now.Add(x.after)); got != x.want {
			t.Errorf("with %d pins after %v: %v a second, want %v", x.pins, x.after, got, x.want)
		}
	}
}

// countedPages is a full peer that shows one root, and counts the pages that it gives.
type countedPages struct {
	source
	signed []byte
	gave   *atomic.Int64
}

func (c countedPages) root(context.Context) ([]byte, error) { return c.signed, nil }

func (c countedPages) page(ctx context.Context, h []byte) ([]byte, error) {
	c.gave.Add(1)
	return c.source.page(ctx, h)
}

// mutePages gives no page, and does not say so.
type mutePages struct{ source }

func (mutePages) page(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Those with older roots give what is the same, and who has the newest alone what they lack; one
// that is silent holds nothing up for long.
func TestFollower_CopiesFromThoseWithAnOlderRoot(t *testing.T) {
	w := newWorld(t, 2)
	for i := 0; i < 4000; i += 1000 {
		e := edit{name: strings.Repeat("x", 250)}
		for p := range 1000 {
			e.put = append(e.put, i+p)
		}
		w.commit(e)
	}
	old, newer := w.members[0].pub, w.members[1].pub
	signed, err := old.root(t.Context())
	check(t, err)
	w.pin(9000, 9001)
	newest, err := newer.root(t.Context())
	check(t, err)
	f, st := w.still(edit{})
	check(t, st.NewBatch().CommitAt(0))
	var few, most atomic.Int64
	f.servedBy(map[api.PeerID]source{"m": countedPages{old, signed, &most}, "guest": countedPages{newer, newest, &few},
		"mute": countedPages{mutePages{old}, signed, new(atomic.Int64)}})
	f.neighbours = map[api.PeerID]Peer{"m": {ID: "m", Member: true}, "guest": {ID: "guest"}, "mute": {ID: "mute"}}
	if ok, err := f.copyPages(t.Context()); !ok || err != nil {
		t.Fatalf("the copy is whole: %t, %v", ok, err)
	}
	if few.Load() == 0 || most.Load() == 0 {
		t.Errorf("the newest's peer is asked for %d pages, the other for %d", few.Load(), most.Load())
	}
}

// pacedPages gives its pages, each after a while.
type pacedPages struct {
	source
	pages map[Hash][]byte
	wait  time.Duration
}

func (p pacedPages) page(ctx context.Context, h []byte) ([]byte, error) {
	select {
	case <-time.After(p.wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, ok := p.pages[Hash(h)]
	if !ok {
		return nil, api.NotFound.Errorf("no such page")
	}
	return b, nil
}

// numbered are n pages.
func numbered(n int) map[Hash][]byte {
	pages := map[Hash][]byte{}
	for i := range n {
		b := []byte{byte(i), byte(i >> 8)}
		pages[sha256.Sum256(b)] = b
	}
	return pages
}

// fetch gets pages of the servers, as a copy does.
func (s *servers) fetch(ctx context.Context, pages map[Hash][]byte) error {
	var g errgroup.Group
	g.SetLimit(syncWorkers)
	for h := range pages {
		g.Go(func() error {
			_, err := s.page(ctx, h)
			return err
		})
	}
	return g.Wait()
}

// Whoever gives slowly, one quick neighbour is enough for a quick copy.
func TestFollower_SlowNeighboursHoldUpNoCopy(t *testing.T) {
	const quick, slow, never = 5 * time.Millisecond, hedgeAfter - time.Millisecond, time.Hour
	for name, waits := range map[string]struct{ best, others []time.Duration }{
		"one with an older root":         {[]time.Duration{quick}, []time.Duration{slow}},
		"most with older roots":          {[]time.Duration{quick}, []time.Duration{slow, slow, never}},
		"most with the same root":        {[]time.Duration{quick, slow, slow, slow}, nil},
		"who has the newest root alone":  {[]time.Duration{slow}, []time.Duration{quick}},
		"all but one with an older root": {[]time.Duration{slow, slow}, []time.Duration{never, quick}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := emptyWorld(t).still(edit{})
			synctest.Test(t, func(t *testing.T) {
				pages, by := numbered(800), map[api.PeerID]source{}
				add := func(o *offer, waits []time.Duration) {
					for _, wait := range waits {
						p := Peer{ID: api.PeerID(fmt.Sprint(len(by)))}
						o.from, by[p.ID] = append(o.from, p), pacedPages{pages: pages, wait: wait}
					}
				}
				best, others := offer{message: message{root: Root{Index: 8}}}, offer{message: message{root: Root{Index: 7}}}
				add(&best, waits.best)
				add(&others, waits.others)
				f.servedBy(by)
				s, began := f.servers(best, []offer{best, others}), time.Now()
				check(t, s.fetch(t.Context(), pages))
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%d pages take %v", len(pages), took)
				}
			})
		})
	}
}

// A neighbour that many ask answers fewer questions of each at once: a copy asks no more.
func TestFollower_CopiesFromABusyNeighbour(t *testing.T) {
	w := emptyWorld(t)
	line := rate.NewLimiter(600<<10, 64<<10) // bytes a second: it takes longer than a refusal
	w.wrap = func(n Network) Network { return thin{n, line} }
	w.addMember()
	for i := 0; i < 6000; i += 1000 {
		e := edit{name: strings.Repeat("x", 250)}
		for p := range 1000 {
			e.put = append(e.put, i+p)
		}
		w.commit(e)
	}
	s := w.members[0].pub.server
	s.mu.Lock()
	s.open += streamsEasy
	s.mu.Unlock()
	f := w.follow(FollowerOptions{})
	w.same(f)
	if f.copy.had > 0 {
		t.Errorf("the copy broke off with %d pins", f.copy.had)
	}
}

// busyPages refuses, as a busy peer does, who asks for more than streamsFew at once.
type busyPages struct {
	pacedPages
	asked *atomic.Int64
}

func (p busyPages) page(ctx context.Context, h []byte) ([]byte, error) {
	defer p.asked.Add(-1)
	if p.asked.Add(1) > streamsFew {
		return nil, errBusy
	}
	return p.pacedPages.page(ctx, h)
}

// A busy neighbour with the newest root is asked for no more than it answers, whoever else lacks
// the pages.
func TestFollower_AsksABusyNeighbourForFewPages(t *testing.T) {
	for others := range 4 {
		f, _ := emptyWorld(t).still(edit{})
		synctest.Test(t, func(t *testing.T) {
			pages := numbered(200)
			newest, older := offer{message: message{root: Root{Index: 8}}}, offer{message: message{root: Root{Index: 7}}}
			newest.from = []Peer{{ID: "busy"}}
			by := map[api.PeerID]source{"busy": busyPages{pacedPages{pages: pages, wait: 50 * time.Millisecond}, new(atomic.Int64)}}
			for i := range others {
				p := Peer{ID: api.PeerID(fmt.Sprint(i))}
				older.from, by[p.ID] = append(older.from, p), pacedPages{}
			}
			f.servedBy(by)
			s := f.servers(newest, []offer{newest, older})
			if err := s.fetch(t.Context(), pages); err != nil {
				t.Errorf("beside %d that lack the pages: %v", others, err)
			}
		})
	}
}

// Nobody is left because pages that it lacks are waited for: one that has the newest root alone
// may give slowly.
func TestFollower_WaitsInTurnForASlowNeighbour(t *testing.T) {
	f, _ := emptyWorld(t).still(edit{})
	synctest.Test(t, func(t *testing.T) {
		all := numbered(200)
		most := maps.Clone(all)
		maps.DeleteFunc(most, func(_ Hash, b []byte) bool { return b[0]%10 == 0 })
		newest := offer{message{root: Root{Index: 8}}, []Peer{{ID: "slow"}}}
		older := offer{message{root: Root{Index: 7}}, []Peer{{ID: "a"}, {ID: "b"}, {ID: "c"}}}
		quick := pacedPages{pages: most, wait: 50 * time.Millisecond}
		f.servedBy(map[api.PeerID]source{"slow": pacedPages{pages: all, wait: pageTime - time.Second}, "a": quick, "b": quick, "c": quick})
		s := f.servers(newest, []offer{newest, older})
		if err := s.fetch(t.Context(), all); err != nil || len(s.errs) > 0 {
			t.Errorf("%v; left are those that said %v", err, s.errs)
		}
		if len(s.all) != serverSlots || len(s.some) != 3*serverSlots {
			t.Errorf("%d turns are left of who has all pages, %d of the others", len(s.all), len(s.some))
		}
	})
}
