package feed

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// A Tree is the pinset at one index cut into pages: a function of its rows, the same on
// every peer. It keeps the pages' hashes and bounds in memory, some 200 bytes a page; the
// rows are read again when a page is asked for. It is safe for concurrent use.
type Tree struct {
	root   Root
	levels [][]node // the rows' pages first, the root last
	where  map[Hash]place

	mu     sync.RWMutex
	frozen *state.Frozen // nil once closed
}

// A node is a page of a Tree.
type node struct {
	part
	last string // bytes of the CID of its last row
	size int    // of the page, in bytes
	from int    // above level 0: its first part is that node of the level below
	to   int    // and its last the one before this
}

type place struct{ level, i int }

// BuildTree cuts a pinset into pages, for which it reads it once. The Tree takes f over,
// also where there is an error. Errors are of the database, and the context's.
func BuildTree(ctx context.Context, f *state.Frozen) (*Tree, error) {
	t := &Tree{frozen: f, where: map[Hash]place{}}
	rows := cutter{}
	for r, err := range f.Rows(ctx, nil, nil) {
		if err != nil {
			t.Close()
			return nil, err
		}
		key := r.Cid.KeyString()
		rows.add(appendRow(nil, r), key, key, 1)
	}
	t.levels = append(t.levels, rows.nodes())
	for below := t.levels[0]; len(below) > 1; below = t.levels[len(t.levels)-1] {
		parts := cutter{level: len(t.levels)}
		for _, n := range below {
			parts.add(appendPart(nil, n.part), n.first, n.last, n.rows)
		}
		t.levels = append(t.levels, parts.nodes())
	}
	for level, nodes := range t.levels {
		for i, n := range nodes {
			t.where[n.hash] = place{level, i}
		}
	}
	d, top := f.Digest(), t.levels[len(t.levels)-1][0]
	t.root = Root{Index: d.Index, Digest: d.Pins, Pins: top.rows, Hash: top.hash}
	return t, nil
}

// Root names the tree.
func (t *Tree) Root() Root { return t.root }

// Page gives the bytes of a page. The error is NotFound where the tree has none of that
// hash, Unavailable once it is closed; others are of the database.
func (t *Tree) Page(ctx context.Context, h Hash) ([]byte, error) {
	at, ok := t.where[h]
	if !ok {
		return nil, api.NotFound.Errorf("no page %s at index %d", h, t.root.Index)
	}
	n := t.levels[at.level][at.i]
	page := append(make([]byte, 0, n.size), byte(at.level))
	if at.level > 0 {
		for _, child := range t.levels[at.level-1][n.from:n.to] {
			page = appendPart(page, child.part)
		}
		return page, nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.frozen == nil {
		return nil, api.Unavailable.Errorf("the pages of index %d are kept no longer", t.root.Index)
	}
	for r, err := range t.frozen.Rows(ctx, []byte(n.first), after(n.last)) {
		if err != nil {
			return nil, err
		}
		page = appendRow(page, r)
	}
	if sha256.Sum256(page) != h {
		return nil, api.Internal.Errorf("the rows from %x on are not what they were", n.first)
	}
	return page, nil
}

// Close lets go of the pinset once the calls of Page under way have ended. A second
// one does nothing.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen == nil {
		return nil
	}
	f := t.frozen
	t.frozen = nil
	return f.Close()
}

// after is the first key past that one.
func after(key string) []byte { return append([]byte(key), 0) }

// A cutter makes the pages of one level out of their items, given in order.
type cutter struct {
	level int
	page  []byte
	done  []node
	now   node // whose page that is
	seen  int  // items
}

// add adds an item that stands for rows from the key first to last.
func (c *cutter) add(item []byte, first, last string, rows uint64) {
	if len(c.page)+len(item) > MaxPage {
		c.end()
	}
	if len(c.page) == 0 {
		c.page = append(c.page, byte(c.level))
		c.now = node{part: part{first: first}, from: c.seen}
	}
	c.page = append(c.page, item...)
	c.seen++
	c.now.last = last
	c.now.rows += rows
	if (c.level == 0 || c.seen-c.now.from >= minParts) && endsPage(c.level, first, len(item)) {
		c.end()
	}
}

func (c *cutter) end() {
	c.now.hash, c.now.size, c.now.to = sha256.Sum256(c.page), len(c.page), c.seen
	c.done = append(c.done, c.now)
	c.page = c.page[:0]
}

// nodes ends the level: the empty pinset has one page.
func (c *cutter) nodes() []node {
	if len(c.done) == 0 && len(c.page) == 0 {
		c.page = append(c.page, byte(c.level))
	}
	if len(c.page) > 0 {
		c.end()
	}
	return c.done
}
