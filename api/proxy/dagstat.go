package proxy

import (
	"context"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

type dagStat struct {
	Cid       string
	Size      uint64 `json:",omitempty"`
	NumBlocks int64  `json:",omitempty"`
}

type dagStats struct {
	UniqueBlocks int        `json:",omitempty"`
	TotalSize    uint64     `json:",omitempty"`
	SharedSize   uint64     `json:",omitempty"`
	Ratio        float32    `json:",omitempty"`
	DagStats     []*dagStat `json:",omitempty"`

	redundant uint64 // bytes, those that several roots have once for each
}

// dagStat counts the blocks of DAGs, alone and together.
func (c *call) dagStat() error {
	progress := !c.given("progress") || c.boolean("progress")
	dag := c.session()
	all := cid.NewSet()
	var out dagStats
	for _, arg := range c.args {
		at, err := c.at(arg)
		if err != nil {
			return err
		}
		if len(at.inside) > 0 {
			return api.Invalid.Errorf("cannot return size for anything other than a DAG with a root CID")
		}
		stat := &dagStat{Cid: c.cid(at.block)}
		out.DagStats = append(out.DagStats, stat)
		err = walkOnce(c.ctx, dag, at.block, false, func(n format.Node) error {
			size := uint64(len(n.RawData()))
			stat.Size += size
			stat.NumBlocks++
			out.redundant += size
			if all.Visit(n.Cid()) {
				out.TotalSize += size
			}
			if progress {
				return c.emit(out)
			}
			return nil
		})
		if err != nil {
			return api.KindOf(err).Errorf("error traversing DAG: %w", err)
		}
	}
	out.UniqueBlocks = all.Len()
	out.Ratio = float32(out.redundant) / float32(out.TotalSize)
	out.SharedSize = out.redundant - out.TotalSize
	return c.emit(out)
}

// walkOnce visits each node of a DAG once, depth first. With partial it leaves out what
// is not to be had, and what is below that.
func walkOnce(ctx context.Context, dag format.NodeGetter, root cid.Cid, partial bool, visit func(format.Node) error) error {
	seen := cid.NewSet()
	for todo := []cid.Cid{root}; len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen.Visit(x) {
			continue
		}
		n, err := dag.Get(ctx, x)
		if partial && format.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := visit(n); err != nil {
			return err
		}
		links := n.Links()
		for i := len(links) - 1; i >= 0; i-- {
			if !seen.Has(links[i].Cid) {
				todo = append(todo, links[i].Cid)
			}
		}
	}
	return nil
}
