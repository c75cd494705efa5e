package ipfsconn

import (
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

func block(t testing.TB, codec uint64, hash uint64, data, said string) blocks.Block {
	t.Helper()
	c, err := cid.V1Builder{Codec: codec, MhType: hash}.Sum([]byte(said))
	if err != nil {
		t.Fatal(err)
	}
	b, err := blocks.NewBlockWithCid([]byte(data), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheckBlocks(t *testing.T) {
	good := block(t, cid.Raw, multihash.SHA2_256, "x", "x")
	big := strings.Repeat("x", MaxBlockSize+1)
	for name, test := range map[string]struct {
		bs    []blocks.Block
		kind  api.Kind
		cause api.Cause
	}{
		"none":              {nil, "", ""},
		"good":              {[]blocks.Block{good, block(t, cid.DagCBOR, multihash.SHA2_512, "y", "y")}, "", ""},
		"as big as may be":  {[]blocks.Block{block(t, cid.Raw, multihash.SHA2_256, big[1:], big[1:])}, "", ""},
		"too big":           {[]blocks.Block{good, block(t, cid.Raw, multihash.SHA2_256, big, big)}, api.TooLarge, api.CauseTooBig},
		"other bytes":       {[]blocks.Block{good, block(t, cid.Raw, multihash.SHA2_256, "x", "y")}, api.Invalid, api.CauseBadBlock},
		"unsafe hash":       {[]blocks.Block{block(t, cid.Raw, multihash.MURMUR3X64_64, "x", "x")}, api.Invalid, api.CauseBadBlock},
		"identity":          {[]blocks.Block{block(t, cid.Raw, multihash.IDENTITY, "x", "x")}, "", ""},
		"identity, but not": {[]blocks.Block{block(t, cid.Raw, multihash.IDENTITY, "x", "y")}, api.Invalid, api.CauseBadBlock},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckBlocks(test.bs)
			if api.KindOf(err) != test.kind || api.CauseOf(err) != test.cause {
				t.Fatalf("error %v of kind %q, cause %q; want %q, %q", err, api.KindOf(err), api.CauseOf(err), test.kind, test.cause)
			}
		})
	}
}

func FuzzParsePath(f *testing.F) {
	for _, p := range []string{"", "/", "/ipfs/bafkqablimvwgy3y", "/ipfs/bafkqablimvwgy3y/a/../b//c/", "/ipns/example.com",
		"/ipld/bafkqablimvwgy3y/x", "ipfs://bafkqablimvwgy3y", "/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG/é%20", strings.Repeat("/a", 3000)} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, err := ParsePath(p)
		if err != nil {
			if k := api.KindOf(err); k != api.Invalid {
				t.Fatalf("%q: error %v of kind %q", p, err, k)
			}
			return
		}
		if len(got.Segments()) < 2 || len(p) > maxPath {
			t.Fatalf("%q: taken as %v", p, got)
		}
		if again, err := ParsePath(got.String()); err != nil || again.String() != got.String() {
			t.Fatalf("%q: %v, then %v (%v)", p, got, again, err)
		}
	})
}
