package dag

import (
	"encoding/hex"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

func TestLinks(t *testing.T) {
	file := ipfsconntest.File(t, 1, 3, 10)
	var leaves []cid.Cid
	for _, b := range file.Blocks[:3] {
		leaves = append(leaves, b.Cid())
	}
	root := file.Blocks[3]
	link := leaves[0]
	// {"a": [link], "b": "x"} with the link as tag 42 of a byte string, 0 and the CID.
	cbor := append([]byte{0xa2, 0x61, 'a', 0x81, 0xd8, 42, 0x58, byte(1 + link.ByteLen()), 0}, link.Bytes()...)
	cbor = append(cbor, 0x61, 'b', 0x61, 'x')
	weak, err := multihash.Sum([]byte("x"), multihash.MURMUR3X64_64, -1)
	if err != nil {
		t.Fatal(err)
	}
	weakLink := cid.NewCidV1(cid.Raw, weak)
	weakCBOR := append([]byte{0xd8, 42, 0x58, byte(1 + weakLink.ByteLen()), 0}, weakLink.Bytes()...)
	long := append([]byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0) // an array said to be endless
	for name, test := range map[string]struct {
		codec uint64
		data  []byte
		want  []cid.Cid
		bad   bool
	}{
		"dag-pb":            {cid.DagProtobuf, root.RawData(), leaves, false},
		"dag-pb as raw":     {cid.Raw, root.RawData(), nil, false},
		"empty dag-pb":      {cid.DagProtobuf, nil, nil, false},
		"dag-cbor":          {cid.DagCBOR, cbor, leaves[:1], false},
		"dag-json":          {cid.DagJSON, []byte(`{"a":{"/":"` + link.String() + `"}}`), leaves[:1], false},
		"bad dag-pb":        {cid.DagProtobuf, []byte("no protobuf"), nil, true},
		"bad dag-cbor":      {cid.DagCBOR, cbor[:20], nil, true},
		"endless dag-cbor":  {cid.DagCBOR, long, nil, true},
		"bad dag-json":      {cid.DagJSON, []byte(`{`), nil, true},
		"unknown codec":     {cid.GitRaw, []byte("tree"), nil, true},
		"unsafe hash below": {cid.DagCBOR, weakCBOR, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Links(cid.NewCidV1(test.codec, root.Cid().Hash()), test.data)
			if (err != nil) != test.bad || test.bad && (api.CauseOf(err) != api.CauseBadBlock || api.KindOf(err) != api.Invalid) {
				t.Fatalf("error %v of kind %q, cause %q", err, api.KindOf(err), api.CauseOf(err))
			}
			if !slices.Equal(got, test.want) {
				t.Fatalf("links %v, want %v", got, test.want)
			}
		})
	}
}

func FuzzLinks(f *testing.F) {
	cbor, err := hex.DecodeString("a1616101")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), ipfsconntest.File(f, 1, 3, 10).Blocks[3].RawData())
	f.Add(uint8(1), cbor)
	f.Add(uint8(2), []byte(`{"a":[1,{"/":"x"}]}`))
	f.Fuzz(func(t *testing.T, codec uint8, data []byte) {
		codecs := []uint64{cid.DagProtobuf, cid.DagCBOR, cid.DagJSON}
		c, err := cid.V1Builder{Codec: codecs[int(codec)%3], MhType: multihash.SHA2_256}.Sum(data)
		if err != nil {
			t.Fatal(err)
		}
		links, err := Links(c, data)
		if err != nil && (links != nil || api.CauseOf(err) != api.CauseBadBlock) {
			t.Fatalf("%v, %v", links, err)
		}
		for _, l := range links {
			if !l.Defined() {
				t.Fatal("an undefined link")
			}
		}
	})
}
