package rest

import (
	"errors"
	"io"
	"mime/multipart"
	"sync"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

// upload is a multipart body as a directory. It tells the faults of the body, which
// are the client's, from those of whoever reads it: after one, nothing more can be
// read, and blame names it.
type upload struct {
	files.Directory
	parts *multipart.Reader

	mu  sync.Mutex
	err error
}

// newUpload reads body, whose parts are set off by boundary.
func newUpload(body io.Reader, boundary string) (*upload, error) {
	parts := multipart.NewReader(body, boundary)
	dir, err := files.NewFileFromPartReader(parts, "multipart/form-data")
	if err != nil {
		return nil, api.Invalid.Errorf("error reading the upload: %w", err)
	}
	return &upload{Directory: dir, parts: parts}, nil
}

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
	return &uploadEntries{DirIterator: u.Directory.Entries(), up: u, top: true}
}

// ended checks that nothing is left once the directory is at its end: boxo ends it, as
// if it were whole, at a part that has no name.
func (u *upload) ended() {
	// Past the last boundary the reader fails otherwise. That also reads the body to its
	// end, from where on net/http notices when the client goes.
	if _, err := u.parts.NextPart(); err == nil || err == io.EOF {
		_ = u.fail(api.Invalid.Errorf("error reading the upload: a part has no file name"))
	}
}

// uploadEntries goes through one directory of an upload.
type uploadEntries struct {
	files.DirIterator
	up   *upload
	top  bool // the upload's own
	done bool
	node files.Node
}

func (e *uploadEntries) Next() bool {
	if e.done || e.up.failed() != nil {
		return false
	}
	if !e.DirIterator.Next() {
		e.done = true
		if e.top && e.DirIterator.Err() == nil {
			e.up.ended()
		}
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
