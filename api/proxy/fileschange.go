package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	gopath "path"
	"strings"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

func (c *call) filesMkdir() error {
	p, err := c.filePath(0)
	if err != nil {
		return err
	}
	prefix, err := c.prefix()
	if err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		return mfs.Mkdir(r, p, mfs.MkdirOpts{Mkparents: c.boolean("parents")}, mfs.WithCidBuilder(prefix))
	})
}

// filesWrite takes the whole of the data in before it changes the tree, which waits
// for nobody's upload.
func (c *call) filesWrite() (err error) {
	p, err := c.filePath(0)
	if err != nil {
		return err
	}
	prefix, err := c.prefix()
	if err != nil {
		return err
	}
	offset, _ := c.number("offset")
	count, limited := c.number("count")
	switch {
	case offset < 0:
		return api.Invalid.Errorf("cannot have negative write offset")
	case count < 0:
		return api.Invalid.Errorf("cannot have negative byte count")
	}
	it := c.files.Entries()
	if !it.Next() {
		return errors.Join(it.Err(), api.Invalid.Errorf("expected a file"))
	}
	f := files.FileFromEntry(it)
	if f == nil {
		return api.Invalid.Errorf("expected a regular file")
	}
	in := io.Reader(f)
	if limited {
		in = io.LimitReader(f, count)
	}
	data, err := spool(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		if c.boolean("parents") {
			if err := makeParents(r, p, prefix); err != nil {
				return err
			}
		}
		f, err := openFile(r, p, c.boolean("create"), prefix)
		if err != nil {
			return err
		}
		if c.given("raw-leaves") {
			f.RawLeaves = c.boolean("raw-leaves")
		}
		out, err := f.Open(c.ctx, mfs.Flags{Write: true, Sync: true})
		if err != nil {
			return err
		}
		return errors.Join(c.writeFile(out, offset, data), out.Close())
	})
}

func (c *call) writeFile(out mfs.FileDescriptor, offset int64, data io.Reader) error {
	if c.boolean("truncate") {
		if err := out.Truncate(0); err != nil {
			return err
		}
	}
	if _, err := out.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(out, data)
	return err
}

// spool takes r in, to a file that is gone once closed.
func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "pinfold-write-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func makeParents(r *mfs.Root, p string, prefix cid.Builder) error {
	dir := gopath.Dir(p)
	if dir == "/" {
		return nil
	}
	return mfs.Mkdir(r, dir, mfs.MkdirOpts{Mkparents: true}, mfs.WithCidBuilder(prefix))
}

// parentOf gives the directory that p is in.
func parentOf(r *mfs.Root, p string) (*mfs.Directory, error) {
	n, err := mfs.Lookup(r, p)
	if err != nil {
		return nil, err
	}
	d, ok := n.(*mfs.Directory)
	if !ok {
		return nil, api.Invalid.Errorf("%s is not a directory", p)
	}
	return d, nil
}

// openFile gives the file at p, made where it is missing if create is set.
func openFile(r *mfs.Root, p string, create bool, prefix cid.Builder) (*mfs.File, error) {
	n, err := mfs.Lookup(r, p)
	if errors.Is(err, os.ErrNotExist) && create {
		dir, name := gopath.Split(p)
		d, err := parentOf(r, dir)
		if err != nil {
			return nil, err
		}
		if prefix == nil {
			prefix = d.GetCidBuilder()
		}
		empty := merkledag.NodeWithData(unixfs.FilePBData(nil, 0))
		if err := empty.SetCidBuilder(prefix); err != nil {
			return nil, err
		}
		if err := d.AddChild(name, empty); err != nil {
			return nil, err
		}
		if n, err = d.Child(name); err != nil {
			return nil, err
		}
		return n.(*mfs.File), nil // it was made so
	}
	if err != nil {
		return nil, err
	}
	f, ok := n.(*mfs.File)
	if !ok {
		return nil, api.Invalid.Errorf("%s was not a file", p)
	}
	return f, nil
}

func (c *call) filesCp() error {
	src, err := c.filePath(0)
	if err != nil {
		return err
	}
	if src = strings.TrimRight(src, "/"); src == "" {
		src = "/"
	}
	dst, err := c.filePath(1)
	if err != nil {
		return err
	}
	if strings.HasSuffix(dst, "/") {
		dst += gopath.Base(src)
	}
	prefix, err := c.prefix()
	if err != nil {
		return err
	}
	n, err := c.filesNode(src)
	if err != nil {
		return fmt.Errorf("cp: cannot get node from path %s: %w", src, err)
	}
	if err := unixfsNode(n); err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		if c.boolean("parents") {
			if err := makeParents(r, dst, prefix); err != nil {
				return err
			}
		}
		if c.boolean("force") {
			if err := unlinkFile(r, dst); err != nil {
				return fmt.Errorf("cp: cannot unlink existing file: %w", err)
			}
		}
		if err := mfs.PutNode(r, dst, n); err != nil {
			return fmt.Errorf("cp: cannot put node in path %s: %w", dst, err)
		}
		return nil
	})
}

// unlinkFile removes the file at p, if there is one.
func unlinkFile(r *mfs.Root, p string) error {
	dir, name := gopath.Split(p)
	d, err := parentOf(r, dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := d.Child(name)
	if err != nil {
		return nil // nothing to remove
	}
	if n.Type() != mfs.TFile {
		return api.Invalid.Errorf("not a file: %s", p)
	}
	return d.Unlink(name)
}

func (c *call) filesMv() error {
	src, err := c.filePath(0)
	if err != nil {
		return err
	}
	dst, err := c.filePath(1)
	if err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		if err := checkMove(r, src, dst); err != nil {
			return err
		}
		to, err := moveTo(r, src, dst)
		if err != nil {
			return err
		}
		if err := mfs.Mv(r, src, dst); err != nil {
			return err
		}
		// Between directories of one name, mfs.Mv leaves it where it was, too.
		if _, err := mfs.Lookup(r, src); err == nil && to != gopath.Clean(src) {
			return remove(r, src, true, true)
		}
		return nil
	})
}

// moveTo is where mfs.Mv puts what is at src.
func moveTo(r *mfs.Root, src, dst string) (string, error) {
	n, err := mfs.Lookup(r, dst)
	switch {
	case err == nil && n.Type() == mfs.TDir, errors.Is(err, os.ErrNotExist) && strings.HasSuffix(dst, "/"):
		return gopath.Join(dst, gopath.Base(src)), nil
	case err == nil || errors.Is(err, os.ErrNotExist):
		return gopath.Clean(dst), nil
	}
	return "", err
}

// checkMove refuses to move a directory into itself: mfs.Mv would put it there and then
// remove it where it was, with all that is in it. So does Kubo.
func checkMove(r *mfs.Root, src, dst string) error {
	from, to := strings.TrimSuffix(src, "/"), strings.TrimSuffix(dst, "/")
	if to != from && !strings.HasPrefix(to, from+"/") {
		return nil
	}
	n, err := mfs.Lookup(r, src)
	if err != nil {
		return err
	}
	if n.Type() == mfs.TDir {
		return api.Invalid.Errorf("cannot move %s into itself, to %s", src, dst)
	}
	return nil
}

// filesRm removes what it can, and tells of what it cannot.
func (c *call) filesRm() error {
	if c.given("flush") && !c.boolean("flush") {
		return api.Invalid.Errorf("files rm always flushes for safety. The --flush flag cannot be set to false for this command")
	}
	var failed []string
	err := c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		failed = nil
		for _, arg := range c.args {
			p, err := checkPath(arg)
			if err != nil {
				failed = append(failed, fmt.Sprintf("%s is not a valid path: %s", arg, err))
				continue
			}
			if err := remove(r, p, c.boolean("force"), c.boolean("recursive")); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %s", p, err))
			}
		}
		return nil
	})
	if err != nil || len(failed) == 0 {
		return err
	}
	for _, text := range failed {
		if err := c.emit(text); err != nil {
			return err
		}
	}
	return api.Conflict.Errorf("can't remove some files")
}

func remove(r *mfs.Root, p string, force, recursive bool) error {
	if p == "/" {
		return api.Invalid.Errorf("cannot delete root")
	}
	dir, name := gopath.Split(strings.TrimSuffix(p, "/"))
	d, err := parentOf(r, dir)
	if err != nil {
		if force && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if !force {
		n, err := d.Child(name)
		if err != nil {
			return err
		}
		if n.Type() == mfs.TDir && !recursive {
			return api.Invalid.Errorf("path is a directory, use -r to remove directories")
		}
	}
	if err := d.Unlink(name); err != nil {
		if force && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return d.Flush()
}
