package pintracker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// A wait ends with the pin, not before, and without a look in between that finds nothing.
func TestFeed_AwaitsThePin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.start()
		alone := func() []api.Member { return nil }
		living := func(api.PeerID) error { return nil }
		feed := NewFeed(NewGlobal(alone, living, r.Tracker, &fakeRemote{}), nil)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- feed.Run(ctx) }()
		defer func() { cancel(); <-ran }()
		c := numbered(1)
		r.node.offer(c, content{bytes: 10, takes: 10 * time.Second})
		r.pin(pinOf(c, me))

		short, cancelShort := context.WithTimeout(ctx, time.Second)
		defer cancelShort()
		info, pinned, err := feed.AwaitPinned(short, c)
		if err != nil || pinned || info.PeerMap[me.String()].Status != api.StatusPinning {
			t.Fatalf("within a second: %v, %v, %+v; want pinning", pinned, err, info.PeerMap)
		}
		began := time.Now()
		info, pinned, err = feed.AwaitPinned(ctx, c)
		if err != nil || !pinned || info.PeerMap[me.String()].Status != api.StatusPinned {
			t.Fatalf("got %v, %v, %+v; want pinned", pinned, err, info.PeerMap)
		}
		if took := time.Since(began); took < 8*time.Second || took > 10*time.Second {
			t.Errorf("it took %s, want some 9s", took)
		}
		if info, pinned, err = feed.AwaitPinned(ctx, numbered(2)); err != nil || pinned {
			t.Errorf("of what is in no pinset: %v, %v, %+v", pinned, err, info)
		}
	})
}

// A holder that does not answer holds up nobody past the time to wait: the others are
// told of as they are, and of that one why it is not.
func TestFeed_AwaitEndsInTimeBesideAPeerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, remote := clusterOf(t, pinOf(numbered(1), p1, p2))
		remote.hang[p2] = true
		feed := NewFeed(g, nil)
		for _, wait := range []time.Duration{time.Millisecond, 3 * time.Second, peerTimeout + time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			began := time.Now()
			info, pinned, err := feed.AwaitPinned(ctx, numbered(1))
			cancel()
			if took := time.Since(began); took > wait+lastLook {
				t.Errorf("of %s it took %s", wait, took)
			}
			want := [3]api.TrackerStatus{api.StatusRemote, api.StatusPinned, api.StatusClusterError}
			if got := statuses(info); err != nil || pinned || got != want {
				t.Errorf("after %s: got %v, pinned %v, %v; want %v", wait, got, pinned, err, want)
			}
			if got := info.PeerMap[p2.String()].Error; !strings.Contains(got, "did not answer") {
				t.Errorf("after %s: the one that hangs: %q", wait, got)
			}
		}
	})
}

// News goes on where the asker was, tells what was lost, and starts anew with the
// tracker.
func TestNews_TellsWhatWasLost(t *testing.T) {
	n := newNews()
	first, _ := n.page(api.NewsQuery{})
	if !first.Lost || first.Last != 0 {
		t.Fatalf("the first answer: %+v", first)
	}
	at := api.NewsQuery{Epoch: first.Epoch}
	for i := range newsKept {
		n.tell(api.PinInfo{Cid: numbered(i)})
	}
	got, next := 0, at
	for {
		p, came := n.page(next)
		if came != nil {
			break
		}
		if p.Lost || len(p.Items) == 0 {
			t.Fatalf("after %d: %+v", got, p)
		}
		for _, i := range p.Items {
			if i.Cid != numbered(got) {
				t.Fatalf("item %d is %s", got, i.Cid)
			}
			got++
		}
		next.After = p.Last
	}
	if got != newsKept {
		t.Errorf("got %d changes, want %d", got, newsKept)
	}
	n.tell(api.PinInfo{Cid: numbered(newsKept)})
	if p, _ := n.page(at); !p.Lost || p.Items[0].Cid != numbered(1) {
		t.Errorf("a slow asker: lost %v, first %s", p.Lost, p.Items[0].Cid)
	}
	if p, _ := n.page(api.NewsQuery{Epoch: first.Epoch + 2, After: 5}); !p.Lost || len(p.Items) > 0 {
		t.Errorf("of another epoch: %+v", p)
	}
}
