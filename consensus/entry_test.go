package consensus

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenOps has every kind of change, with every field of Op.
func goldenOps() []api.Op {
	p := api.Pin{PinOptions: api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3, Name: "n",
		ExpireAt: time.Unix(2000, 0).UTC(), Metadata: map[string]string{"b": "2", "a": "1"}},
		Cid: testCid("golden"), Type: api.PinData, Allocations: []api.PeerID{fixedID("p1"), fixedID("p2")}, MaxDepth: -1,
		Timestamp: time.Unix(1000, 0).UTC(), Leaving: []api.PeerID{fixedID("p3")}, Size: 12345}
	return []api.Op{
		{Type: api.OpPin, Pin: &p, Revision: 3, Peer: fixedID("p1"), Session: 9, Seq: 2, Acked: 1},
		{Type: api.OpUnpin, Cid: testCid("other"), Revision: 4},
		{Type: api.OpSession, Peer: fixedID("p1"), Session: 10},
		{Type: api.OpJoin, Member: &api.Member{ID: fixedID("p4"), DataID: fixedID("d4"), Name: "four", Certificate: []byte{1, 2}},
			Credential: []byte{7, 8}, Expires: 3000, Time: 1500},
		{Type: api.OpRemove, Peer: fixedID("p4")},
		{Type: api.OpOweKey},
		{Type: api.OpRenewKey, Key: &api.ClusterKey{Number: 3, Private: bytes.Repeat([]byte{9}, 64), Renewals: [][]byte{{1}, {2}, {3}}}},
		{Type: api.OpJoin, Member: &api.Member{ID: fixedID("p5"), DataID: fixedID("d5")}, Credential: []byte{9}, Expires: 3000, Time: 1500, KeyNumber: 3},
	}
}

// fixedID is a valid peer ID, the same each time.
func fixedID(name string) api.PeerID { return api.PeerID(testCid(name).Hash()) }

func TestEntry_Golden(t *testing.T) {
	var parts [][]byte
	for _, op := range goldenOps() {
		parts = append(parts, encoded(t, op))
	}
	got := joinOps(parts)
	file := filepath.Join("testdata", "entry-v1.hex")
	if *update {
		check(t, os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644))
	}
	text, err := os.ReadFile(file)
	check(t, err)
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("the form of log entries has changed:\n got %x\nwant %x", got, want)
	}
	ops, err := decodeEntry(want)
	check(t, err)
	if again, err := api.Encode(ops); err != nil || !bytes.Equal(again, want[1:]) {
		t.Errorf("golden entry reads as %+v, want %+v", ops, goldenOps())
	}
}

func TestEntry_JoinIsEncodedArray(t *testing.T) {
	for _, n := range []int{0, 1, 23, 24, 255, 256} {
		ops := make([]api.Op, n)
		parts := make([][]byte, n)
		for i := range ops {
			ops[i] = unpinOp("x", uint64(i))
			parts[i] = encoded(t, ops[i])
		}
		want, err := api.Encode(ops)
		check(t, err)
		if got := joinOps(parts); !bytes.Equal(got, append([]byte{entryVersion}, want...)) {
			t.Errorf("%d changes: %x, want version and %x", n, got, want)
		}
	}
}

func TestEntry_Refused(t *testing.T) {
	good := joinOps([][]byte{encoded(t, unpinOp("a", 1))})
	for name, tc := range map[string]struct {
		data []byte
		want api.Kind
	}{
		"empty":            {nil, api.Invalid},
		"later version":    {append([]byte{2}, good[1:]...), api.Unsupported},
		"cut":              {good[:len(good)-1], api.Invalid},
		"goes on":          {append(bytes.Clone(good), 0), api.Invalid},
		"too large":        {append(bytes.Clone(good), make([]byte, decodableBytes)...), api.Invalid},
		"not an array":     {[]byte{1, 0xa0}, api.Invalid},
		"endless array":    {[]byte{1, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, api.Invalid},
		"change of type 0": {[]byte{1, 0x81, 0xa1, 1, 0}, api.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := decodeEntry(tc.data)
			if ops != nil || err == nil {
				t.Fatalf("got %v, %v", ops, err)
			}
		})
	}
}

func FuzzDecodeEntry(f *testing.F) {
	var parts [][]byte
	for _, op := range goldenOps() {
		parts = append(parts, encoded(f, op))
		f.Add(joinOps([][]byte{encoded(f, op)}))
	}
	f.Add(joinOps(parts))
	f.Add(joinOps(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := decodeEntry(data)
		if err != nil {
			return
		}
		again, err := api.Encode(ops)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := decodeEntry(append([]byte{entryVersion}, again...)); err != nil {
			t.Fatalf("what was written again cannot be read: %v", err)
		}
	})
}
