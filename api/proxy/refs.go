package proxy

import (
	"strings"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

var refsCommands = []*command{
	{path: "refs", run: (*call).refs, endless: true, args: []argument{{name: "ipfs-path", many: true, body: true}}, options: []option{
		opt(text, "format").or("<dst>"), opt(boolean, "edges", "e"), opt(boolean, "unique", "u"), opt(boolean, "recursive", "r"),
		opt(integer, "max-depth").or(int64(-1)),
	}},
	{path: "refs/local", run: (*call).refsLocal, endless: true},
	{path: "repo/ls", run: (*call).refsLocal, endless: true},
}

type refLine struct{ Ref, Err string }

func (c *call) refsLocal() error {
	if err := c.begin(); err != nil {
		return err
	}
	for x, err := range c.Node.Stored(c.ctx) {
		if err != nil {
			return err
		}
		if err := c.emit(refLine{Ref: c.cid(x)}); err != nil {
			return err
		}
	}
	return nil
}

// maxRefDepth bounds nodes inside each other.
const maxRefDepth = 10_000

// refWalk lists links, depth first.
type refWalk struct {
	c      *call
	dag    format.NodeGetter
	unique bool
	depth  int // how deep to go; -1 without end
	form   string
	seen   map[string]int // the depth at which a node was seen
}

func (c *call) refs() error {
	w := &refWalk{c: c, dag: c.session(), unique: c.boolean("unique"), form: c.text("format"), depth: 1, seen: map[string]int{}}
	if c.boolean("recursive") {
		depth, _ := c.number("max-depth")
		w.depth = int(depth)
	}
	if c.boolean("edges") {
		if w.form != "<dst>" {
			return api.Invalid.Errorf("using format argument with edges is not allowed")
		}
		w.form = "<src> -> <dst>"
	}
	roots, err := c.resolveAll()
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	for _, root := range roots {
		n, err := w.dag.Get(c.ctx, root)
		if err == nil {
			err = w.walk(n, 0)
		}
		if err != nil {
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			if err := c.emit(refLine{Err: err.Error()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk tells of the links of n, which is depth links below the root.
func (w *refWalk) walk(n format.Node, depth int) error {
	if depth > maxRefDepth {
		return api.TooLarge.Errorf("%s is over %d links deep", n.Cid(), maxRefDepth)
	}
	for _, l := range n.Links() {
		if err := w.c.ctx.Err(); err != nil {
			return err
		}
		deeper, write := w.visit(l.Cid, depth+1)
		if !deeper && !write {
			continue
		}
		// Kubo gets what it tells of, too.
		child, err := w.dag.Get(w.c.ctx, l.Cid)
		if err != nil {
			return err
		}
		if write {
			if err := w.tell(n.Cid(), l); err != nil {
				return err
			}
		}
		if deeper {
			if err := w.walk(child, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit tells whether to go below c, and whether to tell of it.
func (w *refWalk) visit(c cid.Cid, depth int) (deeper, write bool) {
	if w.depth >= 0 && depth > w.depth {
		return false, false
	}
	last := w.depth >= 0 && depth == w.depth
	if !w.unique {
		return !last, true
	}
	before, known := w.seen[c.KeyString()]
	if known && (w.depth < 0 || before <= depth) {
		return false, false
	}
	w.seen[c.KeyString()] = depth
	return !last, !known
}

func (w *refWalk) tell(from cid.Cid, l *format.Link) error {
	return w.c.emit(refLine{Ref: strings.NewReplacer("<src>", w.c.cid(from), "<dst>", w.c.cid(l.Cid), "<linkname>", l.Name).Replace(w.form)})
}
