package rest

import (
	"errors"
	"io"
	"sync"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

// upload is a multipart body as a directory. It tells the faults of the body, which
// are the client's, from those of whoever reads it: after one, nothing more can be
// read, and blame names it.
type upload struct {
	files.Directory

	mu  sync.Mutex
	err error
}

func newUpload(dir files.Directory) *upload { return &upload{Directory: dir} }

// fail notes a fault of the body and returns the first one, as an Invalid error unless
// it has a kind.
func (u *upload) fail(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
		if api.KindOf(err) == api.Internal {
			u.err = api.Invalid.Errorf("error reading the upload: %w", err)
		}
	}
	return u.err
}

func (u *upload) failed() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// blame is err, or the fault of the body that brought it about.
func (u *upload) blame(err error) error {
	if err == nil {
		return nil
	}
	if cause := u.failed(); cause != nil {
		return cause
	}
	return err
}

func (u *upload) Entries() files.DirIterator {
	return &uploadEntries{DirIterator: u.Directory.Entries(), up: u}
}

// uploadEntries goes through one directory of an upload.
type uploadEntries struct {
	files.DirIterator
	up   *upload
	node files.Node
}

func (e *uploadEntries) Next() bool {
	if e.up.failed() != nil || !e.DirIterator.Next() {
		return false
	}
	switch n := e.DirIterator.Node().(type) {
	case *files.ReaderFile:
		e.node = &uploadFile{ReaderFile: n, up: e.up}
	case files.Directory:
		e.node = &uploadDirectory{Directory: n, up: e.up}
	default:
		e.node = n
	}
	return true
}

func (e *uploadEntries) Node() files.Node { return e.node }

func (e *uploadEntries) Err() error {
	if err := e.DirIterator.Err(); err != nil {
		return e.up.fail(err)
	}
	return e.up.failed()
}

type uploadDirectory struct {
	files.Directory
	up *upload
}

func (d *uploadDirectory) Entries() files.DirIterator {
	return &uploadEntries{DirIterator: d.Directory.Entries(), up: d.up}
}

type uploadFile struct {
	*files.ReaderFile
	up *upload
}

func (f *uploadFile) Read(p []byte) (int, error) {
	n, err := f.ReaderFile.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.up.fail(err)
	}
	return n, err
}

// Size is not known before a file has been read. (That of the embedded file panics.)
func (f *uploadFile) Size() (int64, error) { return 0, files.ErrNotSupported }
