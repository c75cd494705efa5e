package web

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// maxUploadPath bounds the path of an uploaded file, in bytes.
	maxUploadPath = 16 << 10
	// maxSymlink bounds what an uploaded symlink points to, in bytes: Linux's PATH_MAX.
	maxSymlink = 4096
)

// Upload is a multipart body as the directory of its parts, read as they come. A part
// is named by its escaped filename; slashes in it make directories. Its type is
// application/x-directory, application/symlink (whose body is the target), or else a
// file's. Modes and times are those that the parts give.
//
// An Upload tells the faults of the body, which are the client's, from those of who
// reads it: after one nothing more can be read, and Blame names it. What boxo has for
// this (files.NewFileFromPartReader) keeps a symlink of any size in memory, takes time
// by the square of a path's length, takes a part without a name for the end, and drops
// what is below a file.
type Upload struct {
	uploadDirectory
	parts *multipart.Reader
	body  io.Reader

	part  *multipart.Part // read, and nobody's yet
	path  string          // of part: clean, from "/"
	meta  uploadMeta      // of part
	ended bool

	mu  sync.Mutex
	err error
}

// NewUpload reads body, whose parts are set off by boundary.
func NewUpload(body io.Reader, boundary string) *Upload {
	u := &Upload{parts: multipart.NewReader(body, boundary), body: body}
	u.uploadDirectory = uploadDirectory{up: u, prefix: "/"}
	return u
}

// Blame is err, or the fault of the body that brought it about: Invalid unless it has
// a kind. It is nil for nil.
func (u *Upload) Blame(err error) error {
	if err == nil {
		return nil
	}
	if cause := u.failed(); cause != nil {
		return cause
	}
	return err
}

// fail notes a fault of the body and returns the first one.
func (u *Upload) fail(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			u.err = api.Invalid.Errorf("error reading the upload: the multipart body ends before its last boundary: it was cut off, send it again")
		case api.KindOf(err) == api.Internal:
			u.err = api.Invalid.Errorf("error reading the upload: %w", err)
		}
	}
	return u.err
}

func (u *Upload) failed() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// peek has the next part in u.part. It returns false at the end and after a fault.
func (u *Upload) peek() bool {
	if u.ended || u.failed() != nil {
		return false
	}
	if u.part != nil {
		return true
	}
	part, err := u.parts.NextPart()
	if err == io.EOF { // the last boundary; a body that ends before it is a fault, which wraps EOF
		u.ended = true
		// Only from the end of the body on does net/http notice when the client goes.
		_, _ = io.Copy(io.Discard, u.body)
		return false
	}
	if err == nil {
		u.path, u.meta, err = partHead(part)
	}
	if err != nil {
		_ = u.fail(err)
		return false
	}
	u.part = part
	return true
}

// partHead is where a part belongs, and what it says of itself.
func partHead(part *multipart.Part) (string, uploadMeta, error) {
	kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return "", uploadMeta{}, errors.New("a part has no file name")
	}
	var meta uploadMeta
	if kind == "form-data" {
		meta = parseMeta(params["name"])
	}
	name := params["filename"]
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain // one that is not escaped is taken as it is
	}
	if len(name) > maxUploadPath {
		return "", uploadMeta{}, api.Invalid.Errorf("error reading the upload: the path of a file is %d bytes long, over %d", len(name), maxUploadPath)
	}
	return path.Clean("/" + name), meta, nil
}

// take makes a node of u.part.
func (u *Upload) take() (files.Node, error) {
	part := u.part
	u.part = nil
	kind := part.Header.Get("Content-Type")
	if kind != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(kind); err != nil {
			return nil, u.fail(err)
		}
	}
	switch kind {
	case "multipart/form-data", "application/x-directory":
		return &uploadDirectory{up: u, prefix: asPrefix(u.path), uploadMeta: u.meta}, nil
	case "application/symlink":
		target, err := io.ReadAll(io.LimitReader(part, maxSymlink+1))
		if err != nil {
			return nil, u.fail(err)
		}
		if len(target) > maxSymlink {
			return nil, u.fail(api.Invalid.Errorf("error reading the upload: the target of a symlink is over %d bytes", maxSymlink))
		}
		return files.NewSymlinkFile(string(target), u.meta.mtime), nil
	default:
		return uploadFile{part: part, up: u, uploadMeta: u.meta}, nil
	}
}

// asPrefix is what the paths below directory p begin with.
func asPrefix(p string) string {
	if strings.HasSuffix(p, "/") {
		return p
	}
	return p + "/"
}

// uploadFile is the body of a part, as a file whose size nobody knows.
type uploadFile struct {
	part *multipart.Part
	up   *Upload
	uploadMeta
}

func (f uploadFile) Read(p []byte) (int, error) {
	n, err := f.part.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.up.fail(err)
	}
	return n, err
}

func (uploadFile) Seek(int64, int) (int64, error) { return 0, files.ErrNotSupported }
func (uploadFile) Size() (int64, error)           { return 0, files.ErrNotSupported }
func (uploadFile) Close() error                   { return nil }

// uploadDirectory are the parts whose paths begin with prefix, as long as they come
// one after the other.
type uploadDirectory struct {
	up     *Upload
	prefix string
	uploadMeta
}

func (d *uploadDirectory) Entries() files.DirIterator { return &uploadEntries{dir: d} }
func (d *uploadDirectory) Close() error               { return nil }
func (d *uploadDirectory) Size() (int64, error)       { return 0, files.ErrNotSupported }

// uploadEntries goes through one directory.
type uploadEntries struct {
	dir  *uploadDirectory
	name string
	node files.Node
}

func (e *uploadEntries) Next() bool {
	up := e.dir.up
	for up.peek() {
		below, ok := strings.CutPrefix(up.path, e.dir.prefix)
		if !ok {
			return false // it is in another directory
		}
		if e.name != "" && strings.HasPrefix(below, e.name+"/") {
			if _, ok := e.node.(*uploadDirectory); !ok {
				_ = up.fail(api.Invalid.Errorf("error reading the upload: %q is both a file and a directory", e.name))
				return false
			}
			up.part = nil // nobody wanted what is in that directory
			continue
		}
		name, _, deeper := strings.Cut(below, "/")
		e.name = name
		if deeper {
			e.node = &uploadDirectory{up: up, prefix: e.dir.prefix + name + "/"}
			return true
		}
		var err error
		e.node, err = up.take()
		return err == nil
	}
	return false
}

func (e *uploadEntries) Name() string     { return e.name }
func (e *uploadEntries) Node() files.Node { return e.node }
func (e *uploadEntries) Err() error       { return e.dir.up.failed() }
