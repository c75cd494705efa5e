package feed

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Who says nothing costs hedgeAfter, and who says no costs nothing.
func TestInTurn_SilentOnesCostLittle(t *testing.T) {
	const silent, good, empty = "silent", "good", "empty"
	for name, c := range map[string]struct {
		list  []string
		takes time.Duration
		asked []string
	}{
		"the first is good":    {[]string{good, silent}, 0, []string{good}},
		"two say no":           {[]string{empty, empty, good}, 0, []string{empty, empty, good}},
		"two say nothing":      {[]string{silent, silent, good, empty}, 2 * hedgeAfter, []string{silent, silent, good}},
		"nobody says anything": {[]string{silent, silent}, partTime + hedgeAfter, []string{silent, silent}},
		"nobody is there":      {nil, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var list []Peer
				for _, kind := range c.list {
					list = append(list, Peer{ID: api.PeerID(kind)})
				}
				var mu sync.Mutex
				var asked []string
				begin := time.Now()
				inTurn(t.Context(), list, func(ctx context.Context, p Peer) bool {
					mu.Lock()
					asked = append(asked, string(p.ID))
					mu.Unlock()
					if p.ID == silent {
						select {
						case <-time.After(partTime):
						case <-ctx.Done():
						}
					}
					return p.ID == good
				})
				if took := time.Since(begin); took != c.takes || !slices.Equal(asked, c.asked) {
					t.Errorf("it asked %v in %v, want %v in %v", asked, took, c.asked, c.takes)
				}
			})
		})
	}
}
