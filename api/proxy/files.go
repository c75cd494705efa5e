package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	gopath "path"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// flush is an option of all commands on files. It changes nothing: what was answered
// is durable and in the tree in any case.
var flush = opt(boolean, "flush", "f").or(true)

var (
	parents = opt(boolean, "parents", "p")
	version = opt(integer, "cid-version", "cid-ver")
	hash    = opt(text, "hash")
)

var filesCommands = []*command{
	{path: "files"},
	{path: "files/ls", run: (*call).filesLs, args: []argument{{name: "path", optional: true}}, options: []option{
		flush, opt(boolean, "long", "l"), opt(boolean, "U"),
	}},
	{path: "files/stat", run: (*call).filesStat, args: []argument{{name: "path"}}, options: []option{
		flush, opt(text, "format"), opt(boolean, "hash"), opt(boolean, "size"), opt(boolean, "with-local"),
	}},
	{path: "files/read", run: (*call).filesRead, endless: true, args: []argument{{name: "path"}}, options: []option{
		flush, opt(long, "offset", "o"), opt(long, "count", "n"),
	}},
	{path: "files/write", run: (*call).filesWrite, endless: true, args: []argument{{name: "path"}, {name: "data", file: true}}, options: []option{
		flush, opt(long, "offset", "o"), opt(boolean, "create", "e"), parents, opt(boolean, "truncate", "t"), opt(long, "count", "n"),
		opt(boolean, "raw-leaves"), version, hash,
	}},
	{path: "files/mkdir", run: (*call).filesMkdir, args: []argument{{name: "path"}}, options: []option{flush, parents, version, hash}},
	{path: "files/cp", run: (*call).filesCp, args: []argument{{name: "source"}, {name: "dest"}}, options: []option{
		flush, opt(boolean, "force"), parents, version, hash,
	}},
	{path: "files/mv", run: (*call).filesMv, args: []argument{{name: "source"}, {name: "dest"}}, options: []option{flush}},
	{path: "files/rm", run: (*call).filesRm, args: []argument{{name: "path", many: true}}, options: []option{
		opt(boolean, "flush", "f"), opt(boolean, "recursive", "r"), opt(boolean, "force"),
	}},
	{path: "files/flush", run: (*call).filesFlush, args: []argument{{name: "path", optional: true}}, options: []option{flush}},
	{path: "files/chcid", run: (*call).filesChcid, args: []argument{{name: "path"}}, options: []option{flush, version, hash}},
	{path: "files/chmod", run: (*call).filesChmod, args: []argument{{name: "mode"}, {name: "path"}}, options: []option{flush}},
	{path: "files/touch", run: (*call).filesTouch, args: []argument{{name: "path"}}, options: []option{
		flush, opt(long, "mtime"), opt(unsigned, "mtime-nsecs"),
	}},
}

// checkPath reads the path of a file; a slash at its end stays.
func checkPath(p string) (string, error) {
	switch {
	case p == "":
		return "", api.Invalid.Errorf("paths must not be empty")
	case p[0] != '/':
		return "", api.Invalid.Errorf("paths must start with a leading slash")
	}
	cleaned := gopath.Clean(p)
	if p[len(p)-1] == '/' && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned, nil
}

// filePath is checkPath of an argument.
func (c *call) filePath(i int) (string, error) { return checkPath(c.args[i]) }

// prefix is what the CIDs of new nodes are to be like, nil for as those around them.
func (c *call) prefix() (cid.Builder, error) {
	v, set := c.number("cid-version")
	name := c.text("hash")
	if !set && name == "" {
		return nil, nil
	}
	if name != "" && v == 0 {
		v = 1
	}
	p, err := merkledag.PrefixForCidVersion(int(v))
	if err != nil {
		return nil, api.Invalid.Errorf("%w", err)
	}
	if name != "" {
		code, ok := multihash.Names[strings.ToLower(name)]
		if !ok {
			return nil, api.Invalid.Errorf("unrecognized hash function: %q", name)
		}
		p.MhType, p.MhLength = code, -1
	}
	return p, nil
}

type filesList struct{ Entries []mfs.NodeListing }

func (c *call) filesLs() error {
	p := "/"
	if len(c.args) > 0 {
		p = c.args[0]
	}
	p, err := checkPath(p)
	if err != nil {
		return err
	}
	var out filesList
	err = c.Node.ViewFiles(c.ctx, func(r *mfs.Root) error {
		n, err := mfs.Lookup(r, p)
		if err != nil {
			return err
		}
		switch n := n.(type) {
		case *mfs.Directory:
			return c.listFiles(n, &out)
		case *mfs.File:
			return c.listFile(n, gopath.Base(p), &out)
		}
		return errors.New("unrecognized type")
	})
	if err != nil {
		return err
	}
	return c.once(out)
}

func (c *call) listFiles(d *mfs.Directory, out *filesList) error {
	if c.boolean("long") {
		return d.ForEachEntry(c.ctx, func(l mfs.NodeListing) error {
			if len(out.Entries) == maxListed {
				return errListed
			}
			out.Entries = append(out.Entries, l)
			return nil
		})
	}
	names, err := d.ListNames(c.ctx)
	if len(names) > maxListed {
		return errListed
	}
	for _, name := range names {
		out.Entries = append(out.Entries, mfs.NodeListing{Name: name})
	}
	return err
}

var errListed = api.TooLarge.Errorf("there are over %d entries", maxListed)

func (c *call) listFile(f *mfs.File, name string, out *filesList) error {
	l := mfs.NodeListing{Name: name}
	if c.boolean("long") {
		size, err := f.Size()
		if err != nil {
			return err
		}
		n, err := f.GetNode()
		if err != nil {
			return err
		}
		l.Type, l.Size, l.Hash = int(f.Type()), size, c.cid(n.Cid())
	}
	out.Entries = []mfs.NodeListing{l}
	return nil
}

// filesNode gets a node of the tree, or of a content path.
func (c *call) filesNode(p string) (n format.Node, err error) {
	if strings.HasPrefix(p, "/ipfs/") {
		return c.node(strings.TrimRight(p, "/"))
	}
	err = c.Node.ViewFiles(c.ctx, func(r *mfs.Root) error {
		f, err := mfs.Lookup(r, p)
		if err != nil {
			return err
		}
		n, err = f.GetNode()
		return err
	})
	return n, err
}

func (c *call) filesRead() error {
	p, err := c.filePath(0)
	if err != nil {
		return err
	}
	return c.Node.ViewFiles(c.ctx, func(r *mfs.Root) error {
		n, err := mfs.Lookup(r, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		f, ok := n.(*mfs.File)
		if !ok {
			return api.Invalid.Errorf("%s was not a file", p)
		}
		in, err := f.Open(c.ctx, mfs.Flags{Read: true})
		if err != nil {
			return err
		}
		return errors.Join(c.readFile(in), in.Close())
	})
}

func (c *call) readFile(in mfs.FileDescriptor) error {
	offset, _ := c.number("offset")
	count, limited := c.number("count")
	size, err := in.Size()
	switch {
	case err != nil:
		return err
	case offset < 0:
		return api.Invalid.Errorf("cannot specify negative offset")
	case offset > size:
		return api.Invalid.Errorf("offset was past end of file (%d > %d)", offset, size)
	case count < 0:
		return api.Invalid.Errorf("cannot specify negative 'count'")
	}
	if _, err := in.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if !limited {
		return c.copy(in, "text/plain")
	}
	return c.copy(io.LimitReader(in, count), "text/plain")
}

func (c *call) filesFlush() error {
	p := "/"
	if len(c.args) > 0 {
		p = c.args[0]
	}
	n, err := c.filesNode(p)
	if err != nil {
		return err
	}
	return c.once(struct{ Cid string }{c.cid(n.Cid())})
}

func (c *call) filesChmod() error {
	mode, err := strconv.ParseUint(c.args[0], 8, 32)
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	p, err := c.filePath(1)
	if err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error { return mfs.Chmod(r, p, os.FileMode(mode)) })
}

func (c *call) filesTouch() error {
	p, err := c.filePath(0)
	if err != nil {
		return err
	}
	at := time.Now().UTC()
	if seconds, _ := c.number("mtime"); seconds != 0 {
		nanos, _ := c.number("mtime-nsecs")
		at = time.Unix(seconds, nanos).UTC()
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error { return mfs.Touch(r, p, at) })
}

func (c *call) filesChcid() error {
	p := c.args[0]
	if p == "/" {
		return api.Invalid.Errorf("cannot change CID format of the MFS root; use 'ipfs config Import.CidVersion' and 'ipfs config Import.HashFunction' instead")
	}
	prefix, err := c.prefix()
	if err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		n, err := mfs.Lookup(r, p)
		if err != nil || prefix == nil {
			return err
		}
		d, ok := n.(*mfs.Directory)
		if !ok {
			return api.Invalid.Errorf("can only update directories")
		}
		d.SetCidBuilder(prefix)
		return d.Flush()
	})
}

// unixfsNode fails unless n is part of a file or a directory.
func unixfsNode(n format.Node) error {
	switch n := n.(type) {
	case *merkledag.RawNode:
		return nil
	case *merkledag.ProtoNode:
		if _, err := unixfs.FSNodeFromBytes(n.Data()); err != nil {
			return fmt.Errorf("%w: %w", errNoFile, err)
		}
		return nil
	}
	return errNoFile
}

var errNoFile = api.Invalid.Errorf("cp: source must be a valid UnixFS (dag-pb or raw codec)")
