package feed

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// replying is a network on which every question has the same answer.
type replying struct {
	Network
	parts [][]byte
}

func (r replying) Dial(context.Context, api.PeerID) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		_, err := readRequest(far)
		for _, b := range r.parts {
			if err == nil {
				_, err = far.Write(appendFrame(nil, frameData, b))
			}
		}
		if err == nil {
			far.Write(appendFrame(nil, frameEnd, nil))
		}
	}()
	return near, nil
}

// still is a follower that does not run, whose state begins with the edit at index 12.
func (w *world) still(e edit) (*Follower, *state.State) {
	t := w.t
	t.Helper()
	st := openState(t, filepath.Join(t.TempDir(), "state"))
	apply(t, st, 12, e)
	f, err := NewFollower(nil, p2p.NewVerifier(w.cluster.Key, w.cluster.Incarnation), st, t.TempDir(), &record{}, FollowerOptions{}, feedLog())
	check(t, err)
	t.Cleanup(func() { f.closeTree(); st.Close() })
	return f, st
}

// A neighbour may have anything to replay that members ever signed: of an answer no more is
// read than leads on, and a beacon.
func TestFollower_ReadsWhatItAskedForAlone(t *testing.T) {
	w := newWorld(t, 1)
	first, log := edit{put: []int{1}}, openState(t, t.TempDir())
	t.Cleanup(func() { log.Close() })
	signed := func(kind string, body []byte, err error) []byte {
		check(t, err)
		raw, err := w.members[0].sign(kind, body)
		check(t, err)
		return raw
	}
	var encoded [][]byte
	for i, e := range []edit{first, {put: []int{2}}, {put: []int{3}}} { // at 12, 14 and 16
		enc, err := encodeBatch(apply(t, log, uint64(12+2*i), e))
		check(t, err)
		encoded = append(encoded, enc)
	}
	batches := func(from, to int) []byte { return signed(kindBatches, batchesBody(encoded[from:to]), nil) }
	told := func() []byte {
		body, err := beacon{index: 16, digest: log.Digest().Pins, time: time.Now()}.encode()
		return signed(kindBeacon, body, err)
	}
	root, err := api.Encode(Root{Index: 16, Digest: log.Digest().Pins})
	for name, c := range map[string]struct {
		answer [][]byte
		index  uint64 // to which it leads
		told   bool   // where the log ends
	}{
		"batches and a beacon":     {[][]byte{batches(1, 2), batches(2, 3), told()}, 16, true},
		"the first is here":        {[][]byte{batches(0, 2), batches(1, 3), told()}, 16, true},
		"a beacon":                 {[][]byte{told()}, 12, true},
		"two beacons":              {[][]byte{told(), told()}, 12, true},
		"a batch after the beacon": {[][]byte{told(), batches(1, 2)}, 12, true},
		"a batch twice":            {[][]byte{batches(1, 2), batches(1, 2)}, 14, false},
		"one that is here":         {[][]byte{batches(0, 1)}, 12, false},
		"one is left out":          {[][]byte{batches(2, 3)}, 12, false},
		"a root":                   {[][]byte{signed(kindRoot, root, err)}, 12, false},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			f, st := w.still(first)
			f.client = client{replying{parts: append(slices.Clone(c.answer), []byte("noise"))}}
			theirs, own := f.askBatches(t.Context(), Peer{})
			if theirs != nil || own != nil {
				t.Errorf("what comes after that is read: %v, %v", theirs, own)
			}
			if index, told := st.Applied(), !f.told.IsZero(); index != c.index || told != c.told {
				t.Errorf("at index %d, told of the end: %t; want %d, %t", index, told, c.index, c.told)
			}
		})
	}
}

// A pin came and went, of which a beacon alone has been heard: the pinset is what it was. A
// message that tells of both, and of what came then, leads on all the same.
func TestFollower_GoesOnPastWhatABeaconTold(t *testing.T) {
	w := newWorld(t, 1)
	first, log := edit{put: []int{1}}, openState(t, t.TempDir())
	t.Cleanup(func() { log.Close() })
	f, st := w.still(first)
	var encoded [][]byte
	tell := func(kind string, body []byte, err error) {
		check(t, err)
		raw, err := w.members[0].sign(kind, body)
		check(t, err)
		m, err := f.judge.read(raw)
		check(t, err)
		check(t, f.take(m))
	}
	for i, e := range []edit{first, {put: []int{2}}, {remove: []int{2}}, {put: []int{3}}} { // at 12 to 18
		enc, err := encodeBatch(apply(t, log, uint64(12+2*i), e))
		check(t, err)
		encoded = append(encoded, enc)
	}
	body, err := beacon{index: 16, digest: st.Digest().Pins, time: time.Now()}.encode()
	tell(kindBeacon, body, err)
	tell(kindBatches, batchesBody(encoded[1:]), nil)
	if got, want := st.Digest(), log.Digest(); got != want {
		t.Errorf("it stands at index %d, want %d", got.Index, want.Index)
	}
}

// Nor does an honest follower give the same twice.
func TestPast_GivesNothingTwice(t *testing.T) {
	sent := func(name string, indexes ...uint64) message {
		m := message{raw: []byte(name), kind: kindBatches}
		for _, i := range indexes {
			m.batches = append(m.batches, batch{index: i, before: [32]byte{byte(i - 1)}, after: [32]byte{byte(i)}})
		}
		return m
	}
	p := newPast(1 << 20)
	for _, m := range []message{sent("asked", 2, 3), sent("gossip", 3), sent("next", 4)} { // which brought 3 first
		p.add(m, m.last(), [32]byte{}, [32]byte{})
	}
	list, ok := p.after(1, [32]byte{1})
	if !ok || len(list) != 2 || string(list[0]) != "asked" || string(list[1]) != "next" {
		t.Errorf("it gives %q, want what was asked for and the next", list)
	}
}
