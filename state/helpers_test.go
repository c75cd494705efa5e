package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = slog.New(slog.DiscardHandler)

// testCid is the nth of an endless row of CIDs, in no order of their bytes.
func testCid(n int) api.Cid {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	m, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		panic(err)
	}
	if n%5 == 0 {
		return api.Cid{Cid: cid.NewCidV0(m)}
	}
	return api.Cid{Cid: cid.NewCidV1(cid.DagProtobuf, m)}
}

func testPeer(n int) api.PeerID {
	sum := sha256.Sum256([]byte(fmt.Sprintf("peer %d", n)))
	key := append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...)
	p, err := peer.IDFromBytes(key)
	if err != nil {
		panic(err)
	}
	return p
}

var epoch = time.Date(2026, 11, 20, 23, 44, 26, 0, time.UTC)

// testPin is a pin with six keys: record, two holders, name, a metadata pair, creation.
func testPin(n int) api.Pin {
	p := api.NewPin(testCid(n), api.PinOptions{
		ReplicationFactorMin: 2, ReplicationFactorMax: 2,
		Name:     fmt.Sprintf("pin %d", n),
		Metadata: map[string]string{"batch": fmt.Sprint(n / 100)},
	}, epoch.Add(time.Duration(n)*time.Second))
	p.Allocations = sortedSet([]api.PeerID{testPeer(n % 3), testPeer(n%3 + 1)})
	p.Size = uint64(n)
	return p
}

// randomPin is one of n CIDs with options drawn from few values, so that they meet.
func randomPin(r *rand.Rand, n int) api.Pin {
	p := testPin(r.IntN(n))
	p.Name = []string{"", "a", "ab", "b\x00c"}[r.IntN(4)]
	p.Metadata = nil
	for i := range r.IntN(3) {
		if p.Metadata == nil {
			p.Metadata = map[string]string{}
		}
		p.Metadata[fmt.Sprint("k", i)] = fmt.Sprint("v", r.IntN(2))
	}
	p.Allocations, p.Leaving = nil, nil
	switch r.IntN(4) {
	case 0:
		p.ReplicationFactorMin, p.ReplicationFactorMax = -1, -1
	case 1:
		p.Leaving = []api.PeerID{testPeer(r.IntN(4))}
		fallthrough
	default:
		p.Allocations = sortedSet([]api.PeerID{testPeer(r.IntN(4)), testPeer(r.IntN(4))})
	}
	if r.IntN(3) == 0 {
		p.ExpireAt = epoch.Add(time.Duration(r.IntN(50)) * time.Second)
	}
	if r.IntN(10) == 0 {
		p.Type = api.PinMeta
	}
	p.Timestamp = epoch.Add(time.Duration(r.IntN(50)) * time.Second)
	p.Size = uint64(r.IntN(1000))
	return p
}

func openState(t testing.TB, dir string) *State {
	t.Helper()
	s, err := Open(dir, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// commit does what f does to a batch at the next log index.
func commit(t testing.TB, s *State, f func(b *Batch) error) {
	t.Helper()
	commitAt(t, s, s.Applied()+1, f)
}

func commitAt(t testing.TB, s *State, index uint64, f func(b *Batch) error) {
	t.Helper()
	b := s.NewBatch()
	if f != nil {
		must(t, f(b))
	}
	must(t, b.Commit(index))
}

func put(t testing.TB, s *State, pins ...api.Pin) {
	t.Helper()
	commit(t, s, func(b *Batch) error {
		for _, p := range pins {
			p.Revision = s.Applied() + 1
			if err := b.Put(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collect reads a list to its end.
func collect(t testing.TB, list iter.Seq2[api.Pin, error]) (pins []api.Pin) {
	t.Helper()
	for p, err := range list {
		must(t, err)
		pins = append(pins, p)
	}
	return pins
}

func cids(pins []api.Pin) (list []string) {
	for _, p := range pins {
		list = append(list, p.Cid.String())
	}
	return list
}
