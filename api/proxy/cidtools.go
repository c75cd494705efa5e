package proxy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-cidutil"
	ipldcodec "github.com/ipld/go-ipld-prime/multicodec"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// cidCommands read and write CIDs. They need no node.
var cidCommands = []*command{
	{path: "cid"},
	{path: "cid/format", run: (*call).cidFormat, args: cidArgs, options: []option{
		opt(text, "f").or("%s"), opt(text, "v"), opt(text, "mc"), opt(text, "b"),
	}},
	{path: "cid/base32", run: (*call).cidBase32, args: cidArgs},
	{path: "cid/inspect", run: (*call).cidInspect, args: []argument{{name: "cid", body: true}}},
	{path: "cid/bases", run: (*call).listBases, options: []option{opt(boolean, "prefix"), opt(boolean, "numeric")}},
	{path: "cid/codecs", run: (*call).listCodecs, options: codeOptions},
	{path: "cid/hashes", run: (*call).listHashes, options: codeOptions},
}

var (
	cidArgs     = []argument{{name: "cid", many: true, body: true}}
	codeOptions = []option{opt(boolean, "numeric", "n"), opt(boolean, "supported", "s")}
)

// codeName is a code of multiformats.
type codeName struct {
	Code int
	Name string
}

func (c *call) listBases() error {
	var all []codeName
	for code, name := range multibase.EncodingToStr {
		all = append(all, codeName{int(code), name})
	}
	return c.once(all)
}

func (c *call) listCodecs() error {
	supported := map[multicodec.Code]bool{multicodec.Libp2pKey: true}
	for _, list := range [][]uint64{ipldcodec.ListEncoders(), ipldcodec.ListDecoders()} {
		for _, code := range list {
			supported[multicodec.Code(code)] = true
		}
	}
	var all []codeName
	for _, code := range multicodec.KnownCodes() {
		if code.Tag() == "ipld" && (supported[code] || !c.boolean("supported")) {
			all = append(all, codeName{int(code), code.String()})
		}
	}
	return c.once(all)
}

func (c *call) listHashes() error {
	var all []codeName
	for code, name := range multihash.Codes {
		if verifcid.DefaultAllowlist.IsAllowed(code) {
			all = append(all, codeName{int(code), name})
		}
	}
	return c.once(all)
}

// cidForm is how CIDs are to be written.
type cidForm struct {
	format  string
	codec   multicodec.Code // 0: as it is
	version string          // "0", "1" or "": as it is
	base    multibase.Encoding
	based   bool // base is set: else that of each CID
}

// formattedCid is a CID as it was given and as it is wanted, or what is wrong with it.
type formattedCid struct{ CidStr, Formatted, ErrorMsg string }

func (c *call) cidBase32() error {
	return c.formatCids(cidForm{format: "%s", version: "1", base: multibase.Base32, based: true})
}

func (c *call) cidFormat() error {
	f := cidForm{format: c.text("f"), version: c.text("v")}
	if !strings.Contains(f.format, "%") {
		return api.Invalid.Errorf("invalid format string: %q", f.format)
	}
	if s := c.text("mc"); s != "" {
		if err := f.codec.Set(s); err != nil {
			return api.Invalid.Errorf("%w", err)
		}
	}
	base := c.text("b")
	switch f.version {
	case "":
		if base != "" {
			f.version = "1"
		}
	case "0":
		if f.codec != 0 && f.codec != multicodec.DagPb {
			return api.Invalid.Errorf("cannot convert to CIDv0 with any codec other than dag-pb")
		}
		if base != "" && base != "base58btc" {
			return api.Invalid.Errorf("cannot convert to CIDv0 with any multibase other than the implicit base58btc")
		}
	case "1":
	default:
		return api.Invalid.Errorf("invalid cid version: %q", f.version)
	}
	if base != "" {
		encoder, err := multibase.EncoderByName(base)
		if err != nil {
			return api.Invalid.Errorf("%w", err)
		}
		f.base, f.based = encoder.Encoding(), true
	}
	return c.formatCids(f)
}

func (c *call) formatCids(f cidForm) error {
	for _, arg := range c.args {
		line := formattedCid{CidStr: arg}
		var fault cidutil.FormatStringError
		var err error
		if line.Formatted, err = f.write(arg); errors.As(err, &fault) {
			return api.Invalid.Errorf("%w", err)
		} else if err != nil {
			line.ErrorMsg = err.Error()
		}
		if err := c.emit(line); err != nil {
			return err
		}
	}
	return nil
}

func (f cidForm) write(arg string) (string, error) {
	x, err := cid.Decode(arg)
	if err != nil {
		return "", err
	}
	if f.codec != 0 && uint64(f.codec) != x.Type() {
		x = cid.NewCidV1(uint64(f.codec), x.Hash())
	}
	switch f.version {
	case "0":
		if x.Type() != cid.DagProtobuf {
			return "", errors.New("can't convert non-dag-pb nodes to cidv0")
		}
		x = cid.NewCidV0(x.Hash())
	case "1":
		x = cid.NewCidV1(x.Type(), x.Hash())
	}
	base := f.base
	switch {
	case f.based:
	case x.Version() == 0:
		base = multibase.Base58BTC
	default:
		if base, err = cid.ExtractEncoding(arg); err != nil {
			return "", err
		}
	}
	return cidutil.Format(f.format, base, x)
}

// inspectedCid tells of the parts of a CID.
type inspectedCid struct {
	Cid        string        `json:"cid"`
	Version    int           `json:"version"`
	Multibase  inspectedBase `json:"multibase"`
	Multicodec inspectedCode `json:"multicodec"`
	Multihash  inspectedHash `json:"multihash"`
	CidV0      string        `json:"cidV0,omitempty"`
	CidV1      string        `json:"cidV1"`
	ErrorMsg   string        `json:"errorMsg,omitempty"`
}

type inspectedBase struct {
	Prefix string `json:"prefix"`
	Name   string `json:"name"`
}

type inspectedCode struct {
	Code uint64 `json:"code"`
	Name string `json:"name"`
}

type inspectedHash struct {
	Code   uint64 `json:"code"`
	Name   string `json:"name"`
	Length int    `json:"length"`
	Digest string `json:"digest"`
}

func (c *call) cidInspect() error {
	arg := c.args[0]
	x, err := cid.Decode(arg)
	if err != nil {
		fault := fmt.Sprintf("invalid CID: %s", err)
		if id, err := peer.Decode(arg); err == nil {
			fault += "\nNote: the value is a PeerID; inspect its CID representation instead:\n  " + keyCid(id).Encode(multibase.MustNewEncoder(multibase.Base36))
		}
		return c.once(inspectedCid{Cid: arg, ErrorMsg: fault})
	}
	hash, err := multihash.Decode(x.Hash())
	if err != nil {
		return c.once(inspectedCid{Cid: arg, ErrorMsg: fmt.Sprintf("failed to decode multihash: %s", err)})
	}
	out := inspectedCid{Cid: arg, Version: int(x.Version()), Multibase: inspectedBase{"z", "base58btc"},
		Multicodec: inspectedCode{x.Type(), multicodec.Code(x.Type()).String()},
		Multihash:  inspectedHash{hash.Code, multihash.Codes[hash.Code], hash.Length, hex.EncodeToString(hash.Digest)}}
	if x.Version() > 0 {
		base, err := cid.ExtractEncoding(arg)
		if err != nil {
			return err
		}
		out.Multibase = inspectedBase{string(rune(base)), multibase.EncodingToStr[base]}
	}
	if strings.HasPrefix(out.Multicodec.Name, "Code(") {
		out.Multicodec.Name = "unknown"
	}
	if out.Multihash.Name == "" {
		out.Multihash.Name = "unknown"
	}
	if x.Type() == cid.DagProtobuf && hash.Code == multihash.SHA2_256 && hash.Length == 32 {
		out.CidV0 = cid.NewCidV0(x.Hash()).String()
	}
	base := multibase.Encoding(multibase.Base32)
	if x.Type() == uint64(multicodec.Libp2pKey) {
		base = multibase.Base36
	}
	out.CidV1 = cid.NewCidV1(x.Type(), x.Hash()).Encode(multibase.MustNewEncoder(base))
	return c.once(out)
}
