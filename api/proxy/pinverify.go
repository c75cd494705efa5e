package proxy

import (
	"context"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

var pinVerifyCommands = []*command{
	{path: "pin/verify", run: (*call).pinVerify, endless: true, options: []option{opt(boolean, "verbose"), opt(boolean, "quiet", "q")}},
}

type verifyPin struct {
	Cid      string    `json:",omitempty"`
	Err      string    `json:",omitempty"`
	Ok       bool      `json:",omitempty"`
	BadNodes []badNode `json:",omitempty"`
}

type badNode struct{ Cid, Err string }

// pinVerify looks whether the node's recursive pins are whole.
func (c *call) pinVerify() error {
	verbose, quiet := c.boolean("verbose"), c.boolean("quiet")
	if verbose && quiet {
		return api.Invalid.Errorf("the --verbose and --quiet options can not be used at the same time")
	}
	if err := c.begin(); err != nil {
		return err
	}
	v := &verifier{c: c, links: merkledag.GetLinksWithDAG(merkledag.NewDAGService(c.Node.Reader(false))), seen: map[cid.Cid]bool{}}
	for p, err := range c.Node.Pinned(c.ctx, api.CidUndef) {
		if err != nil {
			return err
		}
		if p.Mode != api.PinRecursive {
			continue
		}
		bad, err := v.check(p.Cid.Cid)
		if err != nil {
			return err
		}
		line := verifyPin{Cid: c.cid(p.Cid.Cid), Ok: len(bad) == 0}
		if line.Ok && !verbose {
			continue
		}
		if !quiet {
			line.BadNodes = bad
		}
		if err := c.emit(line); err != nil {
			return err
		}
	}
	return nil
}

// verifier remembers which DAGs are whole: they are not walked twice.
type verifier struct {
	c     *call
	links func(context.Context, cid.Cid) ([]*format.Link, error)
	seen  map[cid.Cid]bool // known to be whole
}

// check returns the nodes that are missing or cannot be read.
func (v *verifier) check(root cid.Cid) (bad []badNode, err error) {
	visited := map[cid.Cid]bool{}
	for todo := []cid.Cid{root}; len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if visited[x] || v.seen[x] {
			continue
		}
		visited[x] = true
		err := verifcid.ValidateCid(verifcid.DefaultAllowlist, x)
		var links []*format.Link
		if err == nil {
			links, err = v.links(v.c.ctx, x)
		}
		if v.c.ctx.Err() != nil {
			return nil, v.c.ctx.Err()
		}
		if err != nil {
			bad = append(bad, badNode{Cid: v.c.cid(x), Err: err.Error()})
			continue
		}
		for _, l := range links {
			todo = append(todo, l.Cid)
		}
	}
	if len(bad) == 0 {
		for x := range visited {
			v.seen[x] = true
		}
	}
	return bad, nil
}
