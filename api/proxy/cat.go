package proxy

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfile "github.com/ipfs/boxo/ipld/unixfs/file"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

var catCommands = []*command{
	{path: "cat", run: (*call).cat, endless: true, args: []argument{{name: "ipfs-path", many: true, body: true}}, options: []option{
		opt(long, "offset", "o"), opt(long, "length", "l"), opt(boolean, "progress", "p"),
	}},
	{path: "get", run: (*call).get, endless: true, args: []argument{{name: "ipfs-path", body: true}}, options: []option{
		opt(text, "output", "o"), opt(boolean, "archive", "a"), opt(boolean, "compress", "C"), opt(integer, "compression-level", "l"),
		opt(boolean, "progress", "p"),
	}},
}

// file opens what a path leads to: a file, a directory or a symlink.
func (c *call) file(arg string) (files.Node, error) {
	at, err := c.at(arg)
	if err != nil {
		return nil, err
	}
	if len(at.inside) > 0 {
		return nil, notLink(at)
	}
	dags := merkledag.NewDAGService(c.blocks())
	node, err := dags.Get(c.ctx, at.block)
	if err != nil {
		return nil, err
	}
	return unixfile.NewUnixfsFile(c.ctx, dags, node)
}

var errIsDirectory = errors.New("this dag node is a directory")

func (c *call) cat() error {
	offset, _ := c.number("offset")
	limit, limited := c.number("length")
	switch {
	case offset < 0:
		return api.Invalid.Errorf("cannot specify negative offset")
	case limit < 0:
		return api.Invalid.Errorf("cannot specify negative length")
	}
	var parts []io.Reader
	var size int64
	for _, arg := range c.args {
		if limited && size >= limit {
			break
		}
		n, err := c.file(arg)
		if err != nil {
			return err
		}
		defer n.Close()
		f, ok := n.(files.File)
		if _, dir := n.(files.Directory); dir {
			return errIsDirectory
		} else if !ok {
			return errors.New("operation not supported")
		}
		length, err := f.Size()
		if err != nil {
			return err
		}
		if offset > length {
			offset -= length
			continue
		}
		seeker, ok := f.(io.Seeker)
		if !ok {
			return errors.New("file does not support seeking")
		}
		if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
			return err
		}
		length -= offset
		offset = 0
		if limited {
			length = min(length, limit-size)
		}
		parts = append(parts, io.LimitReader(f, length))
		size += length
	}
	c.size(uint64(size))
	return c.copy(io.MultiReader(parts...), "text/plain")
}

func (c *call) get() error {
	level, set := c.number("compression-level")
	switch {
	case set && (level < gzip.BestSpeed || level > gzip.BestCompression):
		return api.Invalid.Errorf("compression level must be between 1 and 9")
	case !c.boolean("compress"):
		level = gzip.NoCompression
	case !set:
		level = gzip.DefaultCompression
	}
	n, err := c.file(c.args[0])
	if err != nil {
		return err
	}
	defer n.Close()
	size, err := n.Size()
	if err != nil {
		return err
	}
	p, err := parsePath(c.args[0])
	if err != nil {
		return err
	}
	mediaType := "application/x-tar"
	if level != gzip.NoCompression {
		mediaType = "application/gzip"
	}
	c.size(uint64(size))
	return c.produce(mediaType, func(w io.Writer) error {
		_, dir := n.(files.Directory)
		a := archive{name: path.Base(p.String()), level: int(level), wrapped: c.boolean("archive") || dir, pax: !c.boolean("archive")}
		return a.write(w, n)
	})
}

// produce answers with what f writes.
func (c *call) produce(mediaType string, f func(io.Writer) error) error {
	r, w := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := f(w)
		if err == nil {
			return w.Close()
		}
		return errors.Join(w.CloseWithError(err))
	})
	err := c.copy(r, mediaType)
	return errors.Join(err, r.CloseWithError(errGone), g.Wait())
}

// archive is how a file or a directory is packed.
type archive struct {
	name    string
	level   int  // of compression
	wrapped bool // a compressed file is a tape archive, too
	pax     bool // times come with their fractions
}

func (a archive) write(w io.Writer, n files.Node) error {
	if a.level == gzip.NoCompression {
		return a.tape(w, n)
	}
	z, err := gzip.NewWriterLevel(w, a.level)
	if err != nil {
		return err
	}
	if a.wrapped {
		err = a.tape(z, n)
	} else if f, ok := n.(files.File); ok {
		_, err = io.Copy(z, f)
	} else {
		err = fmt.Errorf("%q is no file", a.name)
	}
	return errors.Join(err, z.Close())
}

func (a archive) tape(w io.Writer, n files.Node) error {
	t, err := files.NewTarWriter(w)
	if err != nil {
		return err
	}
	if a.pax {
		t.SetFormat(tar.FormatPAX)
	}
	if err := t.WriteFile(n, a.name); err != nil {
		return err
	}
	return t.Close()
}
