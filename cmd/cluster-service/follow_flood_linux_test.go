package main

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// figure reads one of the metrics of a peer.
func (p *testPeer) figure(name string) (float64, error) {
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no figure %s: %v", name, lines.Err())
}

// With all that a link tells, one machine does its worst to the members, from as many
// peers as it likes: writes are acknowledged all the same, followers follow, those that
// come meanwhile find a place, and the members do not grow.
func TestFollow_FloodKeepsNobodyFromAnything(t *testing.T) {
	const writes = 24 // before the flood is seen to go on, and after
	peers := spawnCluster(t, 3, "FOLLOWERS_MAXCONNECTIONS=8")
	early := peers[0].talk("early", &talker{blocks: noBlocks{}})
	isUpToDate := func(f *talker, after uint64) {
		t.Helper()
		eventually(t, 2*patience, func() error {
			if s := f.feed.Status(); !s.Settled || s.Index < after || s.Stopped != "" {
				return fmt.Errorf("a follower is at index %d, want %d; %d neighbours, settled %t, stopped %q", s.Index, after, len(s.Neighbours), s.Settled, s.Stopped)
			}
			return nil
		})
	}
	acknowledged := map[api.Cid]bool{}
	write := func() {
		t.Helper()
		for n := range writes {
			c, p := randomCid(), peers[n%len(peers)]
			eventually(t, 2*patience, func() error {
				_, err := p.http.Pin(t.Context(), c, copies(1))
				return err
			})
			acknowledged[c] = true
		}
	}
	write()
	isUpToDate(early, 1)

	f, end := startFlood(t, peers[0].followLink())
	late := peers[0].talk("late", &talker{blocks: noBlocks{}})
	before := map[string]int64{}
	for what, d := range f.bad {
		before[what] = d.done.Load()
	}
	write()
	for what, d := range f.bad {
		eventually(t, 2*patience, func() error {
			if d.done.Load() <= before[what]+1 {
				return fmt.Errorf("the flood has not gone on: %s", what)
			}
			return nil
		})
	}
	for _, what := range []string{"hellos", "pages that nobody has", "noise in gossip", "noise to every protocol"} {
		eventually(t, 2*patience, func() error { // others see it only when they read
			if f.bad[what].refused.Load() == 0 {
				return fmt.Errorf("never refused: %s", what)
			}
			return nil
		})
	}
	write()
	var self api.Peer
	eventually(t, 2*patience, func() (err error) {
		self, err = peers[0].self()
		return err
	})
	isUpToDate(early, self.Index)
	isUpToDate(late, self.Index)
	eventually(t, 2*patience, func() error {
		list := late.feed.Status().Neighbours
		if !slices.ContainsFunc(list, func(p feed.Peer) bool { return p.Member }) {
			return fmt.Errorf("one of another address finds no place with a member: it has %d neighbours", len(list))
		}
		return nil
	})
	// One address is answered some 20 questions a second by each member, whoever asks.
	seconds := time.Since(f.began).Seconds()
	if n, most := f.greetings.done.Load(), int64(float64(len(peers))*(300+25*seconds)); n > most {
		t.Errorf("guests of one address got %d answers in %.0f s, at most %d are fine; %d were refused", n, seconds, most, f.greetings.refused.Load())
	}
	for _, p := range peers {
		for figure, most := range map[string]float64{"go_goroutines": 3000, "go_memstats_heap_inuse_bytes": 256 << 20} {
			n, err := p.figure(figure)
			if err != nil || n > most {
				t.Errorf("%s of %s under the flood: %.0f, at most %.0f are fine; %v", figure, p.name, n, most, err)
			}
			t.Logf("%s: %s %.0f", p.name, figure, n)
		}
		if used, err := p.figure("process_cpu_seconds_total"); err == nil {
			t.Logf("%s: %.1f CPU seconds in %.0f", p.name, used, seconds)
		}
	}
	end()
	waitEqual(t, peers)
	for _, p := range peers {
		got := p.pinset()
		for c := range acknowledged {
			if _, ok := got[c]; !ok {
				t.Errorf("%s has lost %s", p.name, c)
			}
		}
	}
	t.Logf("hellos of guests: answered %d times, refused %d", f.greetings.done.Load(), f.greetings.refused.Load())
	for what, d := range f.bad {
		t.Logf("%s: done %d times, refused %d", what, d.done.Load(), d.refused.Load())
	}
}
