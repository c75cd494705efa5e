package feed

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// wireForms are the bodies of statements and the messages of streams that golden files pin.
func wireForms(t testing.TB) map[string][]byte {
	t.Helper()
	d := func(b byte) (d [32]byte) { d[0], d[31] = b, b; return d }
	one, err := encodeBatch(state.Changes{Index: 7, Before: d(1), After: d(2),
		Rows: []state.Row{{Cid: pageCid(1), Value: []byte{7, 0xa0}}, {Cid: pageCid(2)}}})
	check(t, err)
	two, err := encodeBatch(state.Changes{Index: 9, Before: d(2), After: d(3), Rows: []state.Row{{Cid: pageCid(1)}}})
	check(t, err)
	beacon, err := beacon{index: 9, digest: d(3), time: time.UnixMilli(1_800_000_000_123)}.encode()
	check(t, err)
	ask, err := api.Encode(request{Op: opSince, Index: 7, Digest: make([]byte, 32)})
	check(t, err)
	greet, err := api.Encode(request{Op: opHello, Hello: &hello{Name: "n", Version: "v", Addrs: []api.Multiaddr{loopback}, DataID: []byte("id"),
		DataAddrs: []api.Multiaddr{loopback}, Admitted: true, Neighbours: []neighbour{{ID: []byte("id"), Addrs: []api.Multiaddr{loopback}}}}})
	check(t, err)
	return map[string][]byte{
		"batches":     batchesBody([][]byte{one, two}),
		"beacon":      beacon,
		"since":       ask,
		"hello":       greet,
		"fault-frame": appendFrame(nil, frameFault, encodeFault(api.NotFound.Errorf("gone"))),
	}
}

func TestWire_Golden(t *testing.T) {
	for name, got := range wireForms(t) {
		file := filepath.Join("testdata", "wire-"+name+".hex")
		want, err := os.ReadFile(file)
		check(t, err)
		if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
			t.Errorf("%s: %x, want %s", name, got, want)
		}
	}
	list, err := decodeBatches(wireForms(t)["batches"])
	check(t, err)
	if len(list) != 2 || list[0].rows[1].Value != nil || len(list[0].rows[0].Value) != 2 {
		t.Errorf("read as %+v", list)
	}
}

func TestDecodeBatches_Refuses(t *testing.T) {
	enc := func(index uint64, before, after byte) []byte {
		b, err := encodeBatch(state.Changes{Index: index, Before: [32]byte{before}, After: [32]byte{after}, Rows: []state.Row{{Cid: pageCid(1)}}})
		check(t, err)
		return b
	}
	for name, body := range map[string][]byte{
		"nothing":        batchesBody(nil),
		"disorder":       batchesBody([][]byte{enc(9, 1, 2), enc(8, 2, 3)}),
		"a gap":          batchesBody([][]byte{enc(9, 1, 2), enc(10, 3, 4)}),
		"no index":       batchesBody([][]byte{enc(0, 1, 2)}),
		"too many":       batchesBody(repeated(maxBatches+1, enc)),
		"something more": append(batchesBody([][]byte{enc(9, 1, 2)}), 0),
	} {
		if _, err := decodeBatches(body); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func repeated(n int, enc func(uint64, byte, byte) []byte) (list [][]byte) {
	for i := range n {
		list = append(list, enc(uint64(i+1), 0, 0))
	}
	return list
}

// What decodes encodes to what decodes to the same.
func FuzzDecodeBatches(f *testing.F) {
	f.Add(wireForms(f)["batches"])
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := decodeBatches(body)
		if err != nil {
			return
		}
		var encs [][]byte
		for _, b := range list {
			enc, err := api.Encode(b.wire())
			check(t, err)
			encs = append(encs, enc)
		}
		again, err := decodeBatches(batchesBody(encs))
		check(t, err)
		for i := range list {
			x, err := list[i].hash()
			check(t, err)
			y, err := again[i].hash()
			check(t, err)
			if x != y {
				t.Fatalf("batch %d changes on the way", i)
			}
		}
	})
}

func FuzzStreams(f *testing.F) {
	for _, form := range wireForms(f) {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readRequest(bytes.NewReader(b))
		readAnswer(bytes.NewReader(b), func(part []byte) error {
			if len(part) > maxFrame {
				t.Fatalf("a part of %d bytes", len(part))
			}
			return nil
		})
		decodeBeacon(b)
		decodeRoot(b)
		decodeFault(b)
	})
}
