package adder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// carOf writes a CARv1 by the letter: a section is a uvarint, a CID and data.
func carOf(roots []cid.Cid, bs ...blocks.Block) []byte {
	header := []byte("\xa2\x65roots") // {"roots": [...], "version": 1}
	header = append(header, 0x80|byte(len(roots)))
	for _, r := range roots {
		header = append(header, 0xd8, 42, 0x58, byte(r.ByteLen()+1), 0)
		header = append(header, r.Bytes()...)
	}
	header = append(header, "\x67version\x01"...)
	out := append(binary.AppendUvarint(nil, uint64(len(header))), header...)
	for _, b := range bs {
		out = binary.AppendUvarint(out, uint64(b.Cid().ByteLen()+len(b.RawData())))
		out = append(append(out, b.Cid().Bytes()...), b.RawData()...)
	}
	return out
}

// carTree is a dag-cbor root over a dag-pb file of two leaves, with different hashes.
func carTree(tb testing.TB) (root cid.Cid, bs []blocks.Block) {
	tb.Helper()
	make := func(codec, hash uint64, data []byte) blocks.Block {
		b, err := block(cid.Prefix{Version: 1, Codec: codec, MhType: hash, MhLength: -1}, data)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	one, two := make(cid.Raw, mh.SHA2_256, []byte("one")), make(cid.Raw, mh.BLAKE2B_MIN+31, []byte("two!"))
	f := make(cid.DagProtobuf, mh.SHA2_512, fileNode([]link{{cid: one.Cid(), size: 3}, {cid: two.Cid(), size: 4}}, []uint64{3, 4}, stat{}))
	node := append([]byte{0xa1, 0x61, 'f', 0xd8, 42, 0x58, byte(f.Cid().ByteLen() + 1), 0}, f.Cid().Bytes()...)
	r := make(cid.DagCBOR, mh.SHA2_256, node)
	return r.Cid(), []blocks.Block{r, f, one, two}
}

func carDir(data []byte) files.Directory {
	return dirOf(files.FileEntry("x.car", files.NewBytesFile(data)))
}

func carParams() api.AddParams {
	p := api.DefaultAddParams()
	p.Format = "car"
	return p
}

func TestD16_BlocksOfACARKeepTheirCIDs(t *testing.T) {
	root, bs := carTree(t)
	total := uint64(0)
	for _, b := range bs {
		total += uint64(len(b.RawData()))
	}
	for name, tc := range map[string]struct {
		root cid.Cid
		size uint64
	}{"a dag-cbor root": {root, 0}, "a file": {bs[1].Cid(), 7}, "a raw root": {bs[2].Cid(), 3}} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, 2)
			pin, out, err := c.add(t, carDir(carOf([]cid.Cid{tc.root}, bs...)), carParams())
			if err != nil {
				t.Fatal(err)
			}
			if pin.Cid.Cid != tc.root || pin.Size != total || len(c.pins) != 1 {
				t.Fatalf("pin %+v", pin)
			}
			if len(out) != 1 || out[0].Name != "x.car" || out[0].Bytes != total || out[0].Size != tc.size || out[0].Cid != pin.Cid ||
				!slices.Equal(out[0].Allocations, c.ids) {
				t.Fatalf("lines %+v", out)
			}
			for _, m := range c.peers {
				for _, b := range bs {
					if !bytes.Equal(m.blocks[b.Cid()], b.RawData()) {
						t.Fatalf("block %s is missing", b.Cid())
					}
				}
			}
		})
	}
}

func TestCAR_Refused(t *testing.T) {
	root, bs := carTree(t)
	whole := carOf([]cid.Cid{root}, bs...)
	other, err := block(cid.Prefix{Version: 1, Codec: cid.DagJSON, MhType: mh.SHA2_256, MhLength: -1}, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, text string
		dir        files.Directory
	}{
		{"nothing", "", dirOf()},
		{"a directory", "", dirOf(folder("d"))},
		{"two files", "one CAR", dirOf(files.FileEntry("a", files.NewBytesFile(whole)), files.FileEntry("b", files.NewBytesFile(whole)))},
		{"no root", "0 roots", carDir(carOf(nil, bs...))},
		{"one of two roots missing", "", carDir(carOf([]cid.Cid{bs[2].Cid(), bs[3].Cid()}, bs[2]))},
		{"no CAR at all", "", carDir([]byte("hello, this is a text and no CAR"))},
		{"an empty file", "cut off", carDir(nil)},
		{"half a block", "cut off", carDir(whole[:len(whole)-2])},
		{"a block missing", "lacks block " + bs[3].Cid().String(), carDir(carOf([]cid.Cid{root}, bs[:3]...))},
		{"no root block", "lacks block " + root.String(), carDir(carOf([]cid.Cid{root}, bs[1:]...))},
		{"another codec", "dag-cbor", carDir(carOf([]cid.Cid{root}, append(bs, other)...))},
		{"a block that does not match", "does not match", carDir(carOf([]cid.Cid{root}, append(bs[:3:3], blockWith(t, []byte("three"), bs[3].Cid()))...))},
		{"a section over any block", "", carDir(append(whole, 0xff, 0xff, 0xff, 0x7f))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 2, 1)
			_, _, err := c.add(t, tc.dir, carParams())
			if !errors.Is(err, api.Invalid) {
				t.Fatalf("got %v, want Invalid", err)
			}
			if !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "EOF") {
				t.Fatalf("got %q, want something about %q", err, tc.text)
			}
			nothingPinned(t, c)
		})
	}
}

// Each root is pinned, in CARs of either version, and what keeps them until then is
// one DAG that has them all.
func TestCAR_SeveralRoots(t *testing.T) {
	root, bs := carTree(t)
	alone, err := block(cid.Prefix{Version: 1, Codec: cid.Raw, MhType: mh.SHA2_256, MhLength: -1}, []byte("alone"))
	if err != nil {
		t.Fatal(err)
	}
	v1 := carOf([]cid.Cid{alone.Cid(), root, alone.Cid()}, append(bs, alone)...)
	v2 := append([]byte("\x0a\xa1\x67version\x02"), make([]byte, 16)...)
	for _, n := range []uint64{51, uint64(len(v1)), 0} {
		v2 = binary.LittleEndian.AppendUint64(v2, n)
	}
	for name, data := range map[string][]byte{"CARv1": v1, "CARv2": append(v2, v1...)} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, 2)
			p := carParams()
			p.Name = "n"
			pin, out, err := c.add(t, carDir(data), p)
			if err != nil {
				t.Fatal(err)
			}
			if pin.Cid.Cid != root || pin.Revision != 7 || len(out) != 2 || out[0].Cid.Cid != alone.Cid() || out[0].Size != 5 || out[1].Cid.Cid != root {
				t.Fatalf("pin %s, lines %+v", pin.Cid, out)
			}
			if len(c.pins) != 2 {
				t.Fatalf("%d pins", len(c.pins))
			}
			for _, pin := range c.pins {
				if pin.Name != "n" || !slices.Equal(pin.Allocations, c.ids) || pin.Cid.Cid != root && pin.Cid.Cid != alone.Cid() {
					t.Errorf("pin %+v", pin)
				}
			}
			for _, m := range c.peers {
				top := api.NewPin(api.Cid{Cid: m.pinned[0]}, api.PinOptions{}, pin.Timestamp)
				complete(t, m, top)
				for _, want := range []cid.Cid{root, alone.Cid()} {
					if want == m.pinned[0] || m.blocks[want] == nil {
						t.Errorf("root %s is not below %s", want, m.pinned[0])
					}
				}
			}
		})
	}
}

// A CARv2 tells how long it is: one that ends before that, be it after a whole block, was
// cut off, also where parts are taken.
func TestCAR_CutV2IsRefusedWithNoPin(t *testing.T) {
	root, bs := carTree(t)
	v1 := carOf([]cid.Cid{root}, bs...)
	v2 := append([]byte("\x0a\xa1\x67version\x02"), make([]byte, 16)...)
	for _, n := range []uint64{51, uint64(len(v1)), 0} {
		v2 = binary.LittleEndian.AppendUint64(v2, n)
	}
	v2 = append(v2, v1...)
	last := len(binary.AppendUvarint(nil, uint64(bs[3].Cid().ByteLen()+len(bs[3].RawData())))) + bs[3].Cid().ByteLen() + len(bs[3].RawData())
	for cut, want := range map[int]bool{0: true, last: false, last + 1: false, 1: false} {
		p := carParams()
		p.NoPin = true
		_, _, err := newCluster(t, 1, 1).add(t, carDir(v2[:len(v2)-cut]), p)
		if (err == nil) != want || err != nil && (!errors.Is(err, api.Invalid) || !strings.Contains(err.Error(), "cut off")) {
			t.Errorf("without its last %d bytes: error %v", cut, err)
		}
	}
}

func TestCAR_PartsAreTakenWithNoPin(t *testing.T) {
	root, bs := carTree(t)
	c := newCluster(t, 1, 1)
	p := carParams()
	p.NoPin = true
	if _, _, err := c.add(t, carDir(carOf([]cid.Cid{root}, bs[2:]...)), p); err != nil {
		t.Fatal(err)
	}
	if m := c.peers[c.ids[0]]; len(m.blocks) != 2 || m.durable != 1 || len(c.pins) != 0 {
		t.Fatalf("%d blocks, %d commits, pins %v", len(m.blocks), m.durable, c.pins)
	}
}

func FuzzCAR(f *testing.F) {
	root, bs := carTree(f)
	whole := carOf([]cid.Cid{root}, bs...)
	f.Add(whole)
	f.Add(whole[:40])
	f.Add([]byte("\x0a\xa1\x67version\x02"))
	// A CARv2: pragma, characteristics, where the data is, and the data.
	v2 := append([]byte("\x0a\xa1\x67version\x02"), make([]byte, 16)...)
	for _, n := range []uint64{51, uint64(len(whole)), 0} {
		v2 = binary.LittleEndian.AppendUint64(v2, n)
	}
	f.Add(append(v2, whole...))
	for _, n := range []uint64{0, 1 << 63, 1<<64 - 1} {
		bad := bytes.Clone(v2)
		binary.LittleEndian.PutUint64(bad[27:], n)
		f.Add(append(bad, whole...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newCluster(t, 1, 1)
		pin, _, err := c.add(t, carDir(data), carParams())
		if err == nil {
			complete(t, c.peers[c.ids[0]], pin)
		}
	})
}
