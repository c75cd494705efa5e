package pintracker

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// listedNode answers Pinned from a sorted list.
type listedNode struct {
	*fakeNode
	list []api.PinnedCid
}

func (n listedNode) Pinned(_ context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error] {
	return func(yield func(api.PinnedCid, error) bool) {
		from, found := slices.BinarySearchFunc(n.list, after, func(p api.PinnedCid, c api.Cid) int { return compare(p.Cid, c) })
		if found {
			from++
		}
		for _, p := range n.list[from:] {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// storedPins decodes each record as a database would.
type storedPins struct {
	*fakePins
	records map[api.Cid][]byte
}

func (s storedPins) decoded(pins iter.Seq2[api.Pin, error]) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		for p, err := range pins {
			var stored api.Pin
			if err == nil {
				err = api.Decode(s.records[p.Cid], &stored)
			}
			if !yield(stored, err) {
				return
			}
		}
	}
}

func (s storedPins) Pins(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.decoded(s.fakePins.Pins(ctx, after))
}

func (s storedPins) Allocated(ctx context.Context, p api.PeerID, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.decoded(s.fakePins.Allocated(ctx, p, after))
}

// benchCluster is clusterOf with nodes and states as fast as real ones.
func benchCluster(b *testing.B, pins []api.Pin) *Global {
	g, remote := clusterOf(b, pins...)
	for id, t := range remote.peers {
		node := listedNode{fakeNode: t.node.(*fakeNode)}
		state := storedPins{t.pins.(*fakePins), map[api.Cid][]byte{}}
		for _, p := range pins {
			data, err := api.Encode(p)
			if err != nil {
				b.Fatal(err)
			}
			state.records[p.Cid] = data
			if p.HeldBy(id) {
				node.list = append(node.list, api.PinnedCid{Cid: p.Cid, Mode: p.Mode})
			}
		}
		slices.SortFunc(node.list, func(x, y api.PinnedCid) int { return cmp.Compare(x.Cid.KeyString(), y.Cid.KeyString()) })
		t.node, t.pins = node, state
		for range state.Pins(b.Context(), api.CidUndef) { // sorts the keys
			break
		}
	}
	return g
}

// BenchmarkStatusPage reads all statuses of a peer, page by page.
func BenchmarkStatusPage(b *testing.B) {
	pins := twoOfThree(30_000)
	for name, q := range map[string]api.StatusQuery{
		"all":        {Limit: nextPage},
		"brief held": {Limit: nextPage, Brief: true, Filter: fromPeers},
	} {
		b.Run(name, func(b *testing.B) {
			g, n := benchCluster(b, pins), 0
			b.ReportAllocs()
			for b.Loop() {
				q := q
				for more := true; more; {
					page, err := g.local.StatusPage(b.Context(), q)
					if err != nil {
						b.Fatal(err)
					}
					n += len(page.Items)
					more, q.After = page.More, page.Last
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "statuses/s")
		})
	}
}

// BenchmarkGlobalList merges three peers' statuses, which cross the wire's encoding; an
// item is a pin with the statuses of all three.
func BenchmarkGlobalList(b *testing.B) {
	g := benchCluster(b, twoOfThree(30_000))
	b.ReportAllocs()
	var first time.Duration
	items := 0
	for b.Loop() {
		start, got := time.Now(), 0
		for _, err := range g.List(b.Context(), api.StatusUndefined) {
			if err != nil {
				b.Fatal(err)
			}
			if got++; got == 1 {
				first += time.Since(start)
			}
		}
		items += got
	}
	b.ReportMetric(float64(items)/b.Elapsed().Seconds(), "items/s")
	b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ms-to-first")
}

// BenchmarkTrack is the cost of a pin to the state machine.
func BenchmarkTrack(b *testing.B) {
	g, _ := clusterOf(b)
	p := pinOf(numbered(0), p0)
	cids := make([]api.Cid, b.N)
	for i := range cids {
		cids[i] = numbered(i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, c := range cids {
		p.Cid = c
		g.local.Track(p)
	}
}
