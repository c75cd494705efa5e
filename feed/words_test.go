package feed

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Who told too much is believed until it tells less, or nothing for a while.
func TestWords_AreNotBelievedForEver(t *testing.T) {
	const far = 1 << 60
	start := time.Now()
	beacon := func(signer string, index uint64, after time.Duration) message {
		return message{kind: kindBeacon, signer: api.PeerID(signer), beacon: beacon{index: index, time: start.Add(after)}}
	}
	batch := func(signer string, index uint64) message {
		return message{kind: kindBatches, signer: api.PeerID(signer), batches: []batch{{index: index}}}
	}
	w := words{}
	for _, s := range []struct {
		what   string
		after  time.Duration
		m      message
		news   bool
		latest uint64
		beacon uint64
	}{
		{"a beacon", 0, beacon("a", 10, 0), true, 10, 10},
		{"a batch goes further", time.Second, batch("a", 12), true, 12, 10},
		{"another's beacon that lags", time.Second, beacon("b", 8, time.Second), true, 12, 10},
		{"the same once more", time.Second, beacon("a", 10, 0), false, 12, 10},
		{"a far one", 2 * time.Second, beacon("b", far, 2*time.Second), true, far, far},
		{"one from before", 2 * time.Second, beacon("b", 8, time.Second), false, far, far},
		{"it tells less", 3 * time.Second, beacon("b", 12, 3*time.Second), false, far, far},
		{"and again", 8 * time.Second, beacon("b", 12, 8*time.Second), true, 12, 12},
		{"a far batch", 9 * time.Second, batch("b", far), true, far, 12},
		{"others go on", wordTime, batch("a", 20), true, far, 12},
		{"and it is silent", wordTime + 9*time.Second, batch("a", 22), true, 22, 10},
	} {
		now := start.Add(s.after)
		if news := w.take(s.m, now); news != s.news {
			t.Errorf("%s: news %t, want %t", s.what, news, s.news)
		}
		if got := w.latest(now); got != s.latest {
			t.Errorf("%s: the latest index is %d, want %d", s.what, got, s.latest)
		}
		if got := w.beacon(now).beacon.index; got != s.beacon {
			t.Errorf("%s: the beacon is that of index %d, want %d", s.what, got, s.beacon)
		}
	}
}
