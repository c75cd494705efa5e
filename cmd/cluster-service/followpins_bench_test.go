package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/state"
)

// BenchmarkHolding finds out what a follower is to hold of a pinset of 100,000 pins: the
// 1,000 that name it, and a share of as many.
func BenchmarkHolding(b *testing.B) {
	const pins, mine = 100_000, 1000
	s, err := state.Open(b.TempDir(), state.Options{}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	self := randomPeer(b)
	batch := s.NewBatch()
	for n := range pins {
		p := api.NewPin(randomCid(), api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3, Name: fmt.Sprintf("archive/2026/%08d.warc.gz", n)}, time.Unix(int64(n), 0))
		if n%(pins/mine) == 0 {
			p.Followers = []api.PeerID{self}
		}
		if err := batch.Put(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := batch.Commit(1); err != nil {
		b.Fatal(err)
	}
	b.Run("allocated", func(b *testing.B) {
		h := holding{self: self, pins: s, holds: choice(config.HoldAllocated, self, nil)}
		for b.Loop() {
			n := 0
			for _, err := range h.Allocated(b.Context(), self, api.CidUndef) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != mine {
				b.Fatalf("%d pins, want %d", n, mine)
			}
		}
	})
	b.Run("share", func(b *testing.B) {
		share, err := feed.OpenShare(filepath.Join(b.TempDir(), "share"), self)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := share.Update(b.Context(), s.List(b.Context(), state.Query{By: state.ByCid}), mine<<20, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
