package adder

import (
	"fmt"
	"strconv"
	"strings"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-cidutil"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// format is how bytes become blocks: the checked part of api.AddParams.
type format struct {
	chunker string
	trickle bool
	raw     bool        // leaves are bare bytes
	nodes   cid.Builder // of dag-pb blocks
	leaves  cid.Builder // of raw ones

	preserveMode, preserveMtime bool // keep a node's own
	all                         stat // of every node, where it has that part
}

// newFormat checks p as far as it says how to add. The error is Invalid or
// Unsupported.
func newFormat(p api.AddParams) (format, error) {
	if p.Shard {
		return format{}, api.Unsupported.Errorf("sharding a DAG over several peers is not supported")
	}
	if p.NoCopy {
		return format{}, api.Unsupported.Errorf("adding without copying is not supported")
	}
	switch p.Format {
	case "", "unixfs":
	case "car":
		if p.Wrap {
			return format{}, api.Invalid.Errorf("cannot wrap a CAR file upload")
		}
	default:
		return format{}, api.Invalid.Errorf("format parameter is invalid: %q is neither unixfs nor car", p.Format)
	}
	f := format{chunker: p.Chunker, raw: p.RawLeaves}
	switch p.Layout {
	case "", "balanced":
	case "trickle":
		f.trickle = true
	default:
		return format{}, api.Invalid.Errorf("layout parameter is invalid: %q is neither balanced nor trickle", p.Layout)
	}
	if err := checkChunker(p.Chunker); err != nil {
		return format{}, api.Invalid.Errorf("invalid chunker %q: %w", p.Chunker, err)
	}
	hash, err := hashCode(p.HashFun)
	if err != nil {
		return format{}, err
	}
	leaves := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: hash, MhLength: -1}
	nodes := cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: hash, MhLength: -1}
	switch {
	case p.Format == "car": // its blocks bring CIDs of their own
	case p.CidVersion == 0 && hash != mh.SHA2_256:
		return format{}, api.Invalid.Errorf("CIDv0 only supports sha2-256: %s needs cid-version=1", p.HashFun)
	case p.CidVersion == 0:
		nodes.Version = 0
	case p.CidVersion != 1:
		return format{}, api.Invalid.Errorf("cid-version parameter is invalid: %d is neither 0 nor 1", p.CidVersion)
	}
	f.leaves, f.nodes = leaves, nodes
	if p.Inline {
		if p.InlineLimit > verifcid.DefaultMaxIdentityDigestSize {
			return format{}, api.Invalid.Errorf("inline-limit %d exceeds maximum allowed size of %d bytes", p.InlineLimit, verifcid.DefaultMaxIdentityDigestSize)
		}
		f.leaves = cidutil.InlineBuilder{Builder: leaves, Limit: p.InlineLimit}
		f.nodes = cidutil.InlineBuilder{Builder: nodes, Limit: p.InlineLimit}
	}
	f.all = stat{mode: p.FileMode, mtime: p.FileMtime}
	f.preserveMode = p.PreserveMode && f.all.mode == 0
	f.preserveMtime = p.PreserveMtime && f.all.mtime.IsZero()
	if p.RawLeaves && (f.all.some() || f.preserveMode || f.preserveMtime) {
		return format{}, api.Invalid.Errorf("raw-leaves can't be used with UnixFS metadata like mode or modification time")
	}
	return f, nil
}

// minRabinMean is the least mean of Rabin chunks: a third of it is the least size,
// which may not be below the 16 bytes that the fingerprint is taken of.
const minRabinMean = 48

// checkChunker refuses also what the chunkers themselves do not: they take any number
// as the mean of Rabin chunks, and panic with a tiny or a negative one.
func checkChunker(s string) error {
	if _, err := chunk.FromString(strings.NewReader(""), s); err != nil {
		return err
	}
	if mean, ok := strings.CutPrefix(s, "rabin-"); ok {
		if n, err := strconv.Atoi(mean); err == nil && n < minRabinMean {
			return fmt.Errorf("the mean may not be below %d", minRabinMean)
		}
	}
	return nil
}

// hashCode finds a hash function that CIDs may use, by its multihash name.
func hashCode(name string) (uint64, error) {
	if name == "" {
		return mh.SHA2_256, nil
	}
	code, ok := mh.Names[strings.ToLower(name)]
	if !ok {
		return 0, api.Invalid.Errorf("hash parameter is invalid: unrecognized hash function %q", name)
	}
	if code == mh.IDENTITY || !verifcid.DefaultAllowlist.IsAllowed(code) {
		return 0, api.Invalid.Errorf("hash parameter is invalid: %q may not name blocks, as with Kubo; sha2-256, sha2-512, sha3-256, blake2b-256 and blake3 may", name)
	}
	if _, err := mh.Sum(nil, code, -1); err != nil {
		return 0, api.Invalid.Errorf("hash parameter is invalid: %q is not built in: %w", name, err)
	}
	return code, nil
}

// block hashes data: the one time that this peer does.
func block(b cid.Builder, data []byte) (blocks.Block, error) {
	c, err := b.Sum(data)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, c)
}
