package adder

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// eventKind says what the reader came across.
type eventKind uint8

const (
	evUnit      eventKind = iota // a top-level entry begins; all but evEnd are inside one
	evDirectory                  // a directory, before what is in it
	evFile                       // a file begins: its evChunk and evProgress follow, then evEOF
	evChunk
	evProgress
	evEOF
	evSymlink
	evEnd // of the unit
)

// event is one step through the files, in order. A chunk also goes to a hasher, which
// makes the block; ready is closed after that. It is nil for the first chunk of a file
// whose stat stands in it if there is no other: its block is made once that is known.
type event struct {
	kind  eventKind
	path  string // in its unit, "" for the top
	dir   bool   // evUnit: it is a directory
	bytes uint64 // evChunk: of the chunk; evProgress: read of the file so far
	data  []byte // evChunk: the bytes; evSymlink: the target
	stat  stat   // evDirectory, evFile, evSymlink

	ready chan struct{}
	block blocks.Block
	err   error
}

// progressEvery is the bytes of a file between two lines of progress.
const progressEvery = 256 << 10

// reader walks the files and sends what it sees to events, and chunks also to hash.
type reader struct {
	f        format
	progress bool
	left     int // entries that may still come
	events   chan<- *event
	hash     chan<- *event
}

func (r *reader) send(ctx context.Context, e *event) error {
	select {
	case r.events <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unit reads one top-level entry.
func (r *reader) unit(ctx context.Context, name string, n files.Node) error {
	_, dir := n.(files.Directory)
	if err := r.send(ctx, &event{kind: evUnit, path: name, dir: dir}); err != nil {
		return err
	}
	if err := r.node(ctx, "", n, 0); err != nil {
		return err
	}
	return r.send(ctx, &event{kind: evEnd})
}

func (r *reader) node(ctx context.Context, p string, n files.Node, depth int) (err error) {
	defer func() { err = errors.Join(err, n.Close()) }()
	if r.left--; r.left < 0 {
		return api.TooLarge.Errorf("too many files and directories in one add")
	}
	if depth > maxDepth {
		return api.Invalid.Errorf("directories are nested over %d deep", maxDepth)
	}
	switch n := n.(type) {
	case files.Directory:
		return r.directory(ctx, p, n, depth)
	case *files.Symlink:
		return r.send(ctx, &event{kind: evSymlink, path: p, data: []byte(n.Target), stat: r.f.stat(n)})
	case files.File:
		return r.file(ctx, p, n)
	default:
		return api.Invalid.Errorf("%q is neither a file nor a directory nor a symlink", p)
	}
}

func (r *reader) directory(ctx context.Context, p string, d files.Directory, depth int) error {
	if err := r.send(ctx, &event{kind: evDirectory, path: p, stat: r.f.stat(d)}); err != nil {
		return err
	}
	it := d.Entries()
	for it.Next() {
		name := it.Name()
		if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || name == "" && depth > 0 {
			return api.Invalid.Errorf("%q in %q is no name of a file", name, p)
		}
		inner := path.Join(p, name)
		if err := r.node(ctx, inner, it.Node(), depth+1); err != nil {
			return err
		}
	}
	return it.Err()
}

func (r *reader) file(ctx context.Context, p string, f files.File) error {
	st := r.f.stat(f)
	if err := r.send(ctx, &event{kind: evFile, path: p, stat: st}); err != nil {
		return err
	}
	undecided := st.some() && !r.f.trickle
	var in io.Reader = f
	if r.progress {
		in = &counter{r: f, tell: func(n uint64) error {
			return r.send(ctx, &event{kind: evProgress, path: p, bytes: n})
		}}
	}
	chunks, err := chunk.FromString(in, r.f.chunker)
	if err != nil {
		return api.Invalid.Errorf("invalid chunker %q: %w", r.f.chunker, err)
	}
	for {
		data, err := chunks.NextBytes()
		if err == io.EOF {
			return r.send(ctx, &event{kind: evEOF})
		}
		if err != nil {
			return err
		}
		e := &event{kind: evChunk, data: data, bytes: uint64(len(data)), ready: make(chan struct{})}
		if undecided { // the importer makes this block
			undecided, e.ready = false, nil
		}
		if err := r.send(ctx, e); err != nil {
			return err
		}
		if e.ready == nil {
			continue
		}
		select {
		case r.hash <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// counter tells of the bytes read: every progressEvery, and once at the end.
type counter struct {
	r    io.Reader
	tell func(uint64) error
	n    uint64
	told uint64
	eof  bool
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += uint64(n)
	if c.n-c.told >= progressEvery || err == io.EOF && !c.eof {
		c.told, c.eof = c.n, err == io.EOF
		if err := c.tell(c.n); err != nil {
			return n, err
		}
	}
	return n, err
}
