package proxy

import (
	"strings"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"

	"github.com/pinfold-cluster/pinfold/api"
)

// encoder writes CIDs the way that a request asks for.
type encoder struct {
	base    multibase.Encoder
	set     bool // base was asked for
	upgrade bool // write version 0 as version 1
}

func newEncoder(opts map[string]any) (encoder, error) {
	e := encoder{base: multibase.MustNewEncoder(multibase.Base58BTC)}
	if name, _ := opts["cid-base"].(string); name != "" {
		base, err := multibase.EncoderByName(name)
		if err != nil {
			return e, api.Invalid.Errorf("%w", err)
		}
		e = encoder{base: base, set: true, upgrade: base.Encoding() != multibase.Base58BTC}
	}
	if v, ok := opts["upgrade-cidv0-in-output"].(bool); ok {
		e.upgrade = v
	}
	return e, nil
}

// like gives an encoder that writes as the CID in path p is written, or e where p has
// none or the request chose a base.
func (e encoder) like(p string) encoder {
	parts := strings.SplitN(p, "/", 4)
	s := parts[0]
	if s == "" && len(parts) >= 3 {
		s = parts[2]
	}
	c, err := cid.Decode(s)
	if e.set || err != nil || c.Version() == 0 {
		return e
	}
	code, _, err := multibase.Decode(s)
	if err != nil {
		return e
	}
	base, err := multibase.NewEncoder(code)
	if err != nil {
		return e
	}
	return encoder{base: base, upgrade: true}
}

func (e encoder) encode(c cid.Cid) string {
	if c.Version() == 0 {
		if !e.upgrade {
			return c.String()
		}
		c = cid.NewCidV1(c.Type(), c.Hash())
	}
	if !e.set && !e.upgrade {
		return c.String()
	}
	return c.Encode(e.base)
}

// parsePath reads an argument that is a content path or a CID, with a path or not.
func parsePath(s string) (path.Path, error) {
	p, err := path.NewPath(s)
	if err == nil {
		return p, nil
	}
	if p, err := path.NewPath("/ipfs/" + s); err == nil {
		return p, nil
	}
	return nil, api.Invalid.Errorf("%w", err)
}
