package adder

import (
	"context"
	"path"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// ahead is how many events the reader may be ahead of the importer. It bounds the
// chunks in memory, of 256 KiB mostly and 2 MiB at most.
const ahead = 24

// importFiles adds what is in dir: one goroutine reads, some hash, and one lays out
// files and directories in order and sends the blocks. It returns the last root.
func importFiles(ctx context.Context, dir files.Directory, f format, p api.AddParams, o Options, fan *fanout, l *lines) (link, error) {
	g, ctx := errgroup.WithContext(ctx)
	events, hash := make(chan *event, ahead), make(chan *event, ahead)
	g.Go(func() error {
		defer close(events)
		defer close(hash)
		r := &reader{f: f, progress: p.Progress, left: o.Entries, events: events, hash: hash}
		if p.Wrap {
			return r.unit(ctx, "", dir)
		}
		it := dir.Entries()
		for it.Next() {
			if err := r.unit(ctx, it.Name(), it.Node()); err != nil {
				return err
			}
		}
		return it.Err()
	})
	for range o.Hashers {
		g.Go(func() error {
			for e := range hash {
				e.block, e.err = f.leaf(e.data, stat{})
				e.data = nil
				close(e.ready)
			}
			return nil
		})
	}
	im := &importer{ctx: ctx, f: f, events: events, fan: fan, lines: l, left: o.Entries}
	g.Go(im.run)
	if err := g.Wait(); err != nil {
		return link{}, err
	}
	if !im.root.cid.Defined() {
		return link{}, api.Invalid.Errorf("nothing to add")
	}
	return im.root, nil
}

// leaf makes the block of a chunk. st is that of the file which it is.
func (f format) leaf(data []byte, st stat) (blocks.Block, error) {
	switch {
	case f.raw:
		return block(f.leaves, data)
	case f.trickle:
		return block(f.nodes, leafNode(typeRaw, data, st))
	default:
		return block(f.nodes, leafNode(typeFile, data, st))
	}
}

// importer turns events into nodes.
type importer struct {
	ctx    context.Context // of the one import that it is made for
	f      format
	events <-chan *event
	fan    *fanout
	lines  *lines
	left   int // entries that may still come, with the directories that paths imply

	peeked *event
	unit   string // the name of the unit, which precedes the paths of finished nodes
	dir    bool   // the unit is a directory
	tree   *tree
	stat   stat // of the file that is being laid out
	root   link // of the last unit
}

func (im *importer) run() error {
	for {
		e, err := im.event()
		if e == nil || err != nil {
			return err
		}
		switch e.kind {
		case evUnit:
			im.unit, im.dir, im.tree, im.root = e.path, e.dir, &tree{}, link{}
		case evDirectory:
			err = im.directory(e.path, e.stat)
		case evFile:
			im.stat = e.stat
			err = im.file(e.path)
		case evSymlink:
			var k link
			if k, err = im.store(symlinkNode(string(e.data), e.stat)); err == nil {
				err = im.added(e.path, k)
			}
		case evEnd:
			err = im.end()
		}
		if err != nil {
			return err
		}
	}
}

// event takes the next event, nil after the last.
func (im *importer) event() (*event, error) {
	if e := im.peeked; e != nil {
		im.peeked = nil
		return e, nil
	}
	select {
	case e := <-im.events:
		return e, nil
	case <-im.ctx.Done():
		return nil, im.ctx.Err()
	}
}

func (im *importer) directory(p string, st stat) error {
	dir, made, err := im.tree.in(p)
	if err != nil {
		return err
	}
	if made > 0 || p == "" { // else it was there before: what came first holds
		dir.stat = st
	}
	return im.count(made)
}

func (im *importer) count(entries int) error {
	if im.left -= entries; im.left < 0 {
		return api.TooLarge.Errorf("too many files and directories in one add")
	}
	return nil
}

func (im *importer) file(p string) error {
	var root part
	var err error
	if im.f.trickle {
		root, err = trickle(im, im.store, -1, im.stat)
	} else {
		root, err = balanced(im, im.store, im.stat)
	}
	if err != nil {
		return err
	}
	// The layout has looked at the end of the file and left it.
	if _, ok, err := im.next(); ok || err != nil {
		return err
	}
	im.peeked = nil
	return im.added(p, root.link)
}

// added files a finished node and tells of it.
func (im *importer) added(p string, k link) error {
	if im.dir {
		if p == "" { // a nameless file to be wrapped
			p = k.cid.String()
		}
		made, err := im.tree.put(p, k)
		if err != nil {
			return err
		}
		if err := im.count(made); err != nil {
			return err
		}
	}
	im.root = k
	return im.line(p, k)
}

func (im *importer) line(p string, k link) error {
	return im.lines.added(api.AddedOutput{Name: path.Join(im.unit, p), Cid: api.Cid{Cid: k.cid}, Size: k.size})
}

// end finishes the unit: its directories are built now that they are complete.
func (im *importer) end() (err error) {
	if im.dir {
		b := builder{nodes: im.f.nodes, put: im.put, done: im.line}
		im.root, err = b.directory("", im.tree)
		im.tree = nil
	}
	return err
}

func (im *importer) put(b blocks.Block) error { return im.fan.put(im.ctx, b) }

// store implements store.
func (im *importer) store(data []byte) (link, error) {
	b, err := block(im.f.nodes, data)
	if err != nil {
		return link{}, err
	}
	return link{cid: b.Cid(), size: uint64(len(data))}, im.put(b)
}

// more implements leaves. Progress is told on the way.
func (im *importer) more() (bool, error) {
	for {
		e, err := im.event()
		if err != nil {
			return false, err
		}
		switch {
		case e == nil:
			return false, im.cut()
		case e.kind == evProgress:
			if err := im.lines.progress(e.path, e.bytes); err != nil {
				return false, err
			}
		default:
			im.peeked = e
			return e.kind == evChunk, nil
		}
	}
}

// cut is why the events end inside a file: the reader has failed, and its error is
// the one that the add ends with.
func (im *importer) cut() error {
	<-im.ctx.Done()
	return im.ctx.Err()
}

// next implements leaves.
func (im *importer) next() (part, bool, error) {
	ok, err := im.more()
	if !ok || err != nil {
		return part{}, false, err
	}
	e := im.peeked
	im.peeked = nil
	if e.ready == nil {
		return im.first(e)
	}
	select {
	case <-e.ready:
	case <-im.ctx.Done():
		return part{}, false, im.ctx.Err()
	}
	if e.err != nil {
		return part{}, false, e.err
	}
	return im.leaf(e.block, e.bytes)
}

// first makes the first leaf of a file that has a stat.
func (im *importer) first(e *event) (part, bool, error) {
	st := im.stat
	if more, err := im.more(); err != nil {
		return part{}, false, err
	} else if more {
		st = stat{}
	}
	b, err := im.f.leaf(e.data, st)
	if err != nil {
		return part{}, false, err
	}
	return im.leaf(b, e.bytes)
}

func (im *importer) leaf(b blocks.Block, bytes uint64) (part, bool, error) {
	p := part{link: link{cid: b.Cid(), size: uint64(len(b.RawData()))}, bytes: bytes}
	return p, true, im.put(b)
}

// empty implements leaves.
func (im *importer) empty() (part, error) {
	b, err := im.f.leaf(nil, im.stat)
	if err != nil {
		return part{}, err
	}
	p, _, err := im.leaf(b, 0)
	return p, err
}
