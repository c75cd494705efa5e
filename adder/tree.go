package adder

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// A directory whose names and CIDs have more bytes than this is sharded.
const (
	shardAbove = 256 << 10
	shardWidth = 256
)

// maxDepth bounds directories inside each other.
const maxDepth = 1000

// tree is a directory that still grows.
type tree struct {
	stat    stat
	entries map[string]entry
}

// entry is a finished node, or a directory.
type entry struct {
	cid  cid.Cid
	size uint64
	dir  *tree
}

// in returns the directory at path p, made where it is missing. "" is t itself. The
// second result is how many were made.
func (t *tree) in(p string) (*tree, int, error) {
	if p == "" || p == "." {
		return t, 0, nil
	}
	made := 0
	for depth, name := range strings.Split(p, "/") {
		if depth >= maxDepth {
			return nil, 0, api.Invalid.Errorf("directories are nested over %d deep", maxDepth)
		}
		e, ok := t.entries[name]
		if !ok {
			e.dir = &tree{}
			t.set(name, e)
			made++
		} else if e.dir == nil {
			return nil, 0, api.Invalid.Errorf("%q is a file and a directory", p)
		}
		t = e.dir
	}
	return t, made, nil
}

func (t *tree) set(name string, e entry) {
	if t.entries == nil {
		t.entries = map[string]entry{}
	}
	t.entries[name] = e
}

// put files a finished node under p, and tells how many entries that made.
func (t *tree) put(p string, k link) (int, error) {
	dir, name := path.Split(p)
	t, made, err := t.in(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return 0, err
	}
	if _, ok := t.entries[name]; ok {
		return 0, api.Invalid.Errorf("%q is there twice", p)
	}
	t.set(name, entry{cid: k.cid, size: k.size})
	return made + 1, nil
}

// builder turns a tree into nodes.
type builder struct {
	nodes cid.Builder
	put   func(blocks.Block) error
	done  func(p string, k link) error // told of each directory, the inner ones first
}

// directory stores t, known as p, and all directories in it.
func (b builder) directory(p string, t *tree) (link, error) {
	entries := make([]link, 0, len(t.entries))
	bytes := 0
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		k := link{name: name, cid: e.cid, size: e.size}
		if e.dir != nil {
			inner, err := b.directory(path.Join(p, name), e.dir)
			if err != nil {
				return link{}, err
			}
			k.cid, k.size = inner.cid, inner.size
		}
		entries = append(entries, k)
		bytes += len(name) + k.cid.ByteLen()
	}
	made, err := b.basic, error(nil)
	if bytes > shardAbove {
		made = b.sharded
	}
	k, err := made(entries, t.stat)
	if err != nil {
		return link{}, err
	}
	return k, b.done(p, k)
}

func (b builder) basic(entries []link, st stat) (link, error) {
	node, err := block(b.nodes, directoryNode(entries, st))
	if err != nil {
		return link{}, err
	}
	k := link{cid: node.Cid(), size: uint64(len(node.RawData()))}
	for _, e := range entries {
		k.size += e.size
	}
	return k, b.put(node)
}

func (b builder) sharded(entries []link, st stat) (link, error) {
	shard, err := hamt.NewShard(&writer{put: b.put}, shardWidth)
	if err != nil {
		return link{}, err
	}
	shard.SetCidBuilder(b.nodes)
	shard.SetStat(st.mode, st.mtime)
	for _, e := range entries {
		if err := shard.SetLink(context.Background(), e.name, &ipld.Link{Cid: e.cid, Size: e.size}); err != nil {
			return link{}, err
		}
	}
	node, err := shard.Node()
	if err != nil {
		return link{}, err
	}
	size, err := node.Size()
	return link{cid: node.Cid(), size: size}, err
}

// writer is a DAG service that is only written to: a new shard reads nothing.
type writer struct {
	put  func(blocks.Block) error
	seen cid.Cid // the last one: a shard adds each node twice
}

var errWriteOnly = errors.New("a directory being built is read")

func (w *writer) Add(_ context.Context, n ipld.Node) error {
	if n.Cid() == w.seen {
		return nil
	}
	w.seen = n.Cid()
	b, err := blocks.NewBlockWithCid(n.RawData(), n.Cid())
	if err != nil {
		return err
	}
	return w.put(b)
}

func (w *writer) AddMany(ctx context.Context, ns []ipld.Node) error {
	for _, n := range ns {
		if err := w.Add(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (*writer) Get(context.Context, cid.Cid) (ipld.Node, error) { return nil, errWriteOnly }
func (*writer) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption {
	c := make(chan *ipld.NodeOption, 1)
	c <- &ipld.NodeOption{Err: errWriteOnly}
	close(c)
	return c
}
func (*writer) Remove(context.Context, cid.Cid) error       { return errWriteOnly }
func (*writer) RemoveMany(context.Context, []cid.Cid) error { return errWriteOnly }
