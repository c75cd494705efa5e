package kubo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/url"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// filesDir is the folder, in the node's MFS, of a file for each entry at its top that
	// is ours: its name is the entry's, escaped, its content the CID that the cluster was
	// asked to keep, or nothing.
	filesDir = "/pinfold/files"
	// maxFiles bounds these entries.
	maxFiles = 10_000
	// ownFolder is the entry of the MFS that the connector itself keeps things in.
	ownFolder = "pinfold"
	// lookEvery is how often the tree is looked at where nothing is known to have changed:
	// Kubo has other doors.
	lookEvery = time.Minute
)

// Files are the entries at the top of the node's MFS that came there, or were changed,
// through us. What else the node's owner has there is none of the cluster's business.
type Files struct {
	n       *Node
	changed chan struct{}

	mu    sync.Mutex
	notes map[string]api.Cid // what is kept of each entry, undefined for not yet; nil: not read
	busy  int                // changes in progress
	moves uint64             // changes begun and ended
	seen  uint64             // moves, when the tree was last looked at
}

// Files gives the node's, of which there is to be one user.
func (n *Node) Files() *Files { return &Files{n: n, changed: make(chan struct{}, 1)} }

// Run has the tree looked at from time to time, until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.tell()
		}
	}
}

// FilesChanged gets a value after a change, unless one is waiting there.
func (f *Files) FilesChanged() <-chan struct{} { return f.changed }

func (f *Files) tell() {
	select {
	case f.changed <- struct{}{}:
	default: // one is waiting
	}
}

// Change notes, durably, that entries of these names are about to be ours. The change
// may be made then; done is called after it, made or not. The error is TooLarge where
// there are too many already.
func (f *Files) Change(ctx context.Context, names ...string) (done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := f.notes[name]; ok || name == ownFolder || name == "" {
			continue
		}
		if len(f.notes) >= maxFiles {
			return nil, api.TooLarge.Errorf("over %d entries at the top of the files are kept: put this one into a folder", maxFiles)
		}
		if err := f.write(ctx, name, api.CidUndef); err != nil {
			return nil, err
		}
	}
	f.busy++
	f.moves++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.busy--
		f.moves++
		f.tell()
	}, nil
}

// Top lists our entries with their CIDs. There are at most 10,000, whatever most is.
func (f *Files) Top(ctx context.Context, _ int) (map[string]api.Cid, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	top := map[string]api.Cid{}
	f.seen = f.moves
	if len(f.notes) == 0 {
		return top, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.n.o.IPFSRequestTimeout)
	defer cancel()
	var list struct {
		Entries []struct{ Name, Hash string }
	}
	if err := f.n.call(ctx, &list, "files/ls", url.Values{"arg": {"/"}, "long": {"true"}, "U": {"true"}}); err != nil {
		return nil, fmt.Errorf("list the files: %w", err)
	}
	for _, e := range list.Entries {
		if _, ok := f.notes[e.Name]; !ok {
			continue
		}
		c, err := api.ParseCid(e.Hash)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", e.Name, err)
		}
		top[e.Name] = c
	}
	// A change that was noted may not have been made.
	for name, kept := range f.notes {
		if _, there := top[name]; !there && !kept.Defined() && f.busy == 0 {
			if err := f.remove(ctx, name); err != nil {
				return nil, err
			}
		}
	}
	return top, nil
}

// KeptFiles gives what SetKeptFiles keeps.
func (f *Files) KeptFiles(ctx context.Context) (map[string]api.Cid, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	kept := map[string]api.Cid{}
	for name, c := range f.notes {
		if c.Defined() {
			kept[name] = c
		}
	}
	return kept, nil
}

// SetKeptFiles notes, durably, which entries the cluster was asked to keep. One that it
// was not asked for is no longer ours.
func (f *Files) SetKeptFiles(ctx context.Context, kept map[string]api.Cid) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(ctx); err != nil {
		return err
	}
	for name, c := range kept {
		if f.notes[name].Cid.Equals(c.Cid) {
			continue
		}
		if err := f.write(ctx, name, c); err != nil {
			return err
		}
	}
	for name, c := range maps.Clone(f.notes) {
		if _, ok := kept[name]; ok || !c.Defined() {
			continue
		}
		var err error
		if f.seen != f.moves { // it may be there again
			err = f.write(ctx, name, api.CidUndef)
		} else {
			err = f.remove(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads the notes, once. The callers hold mu, as they do for those below.
func (f *Files) load(ctx context.Context) error {
	if f.notes != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.n.o.IPFSRequestTimeout)
	defer cancel()
	var list struct{ Entries []struct{ Name string } }
	err := f.n.call(ctx, &list, "files/ls", url.Values{"arg": {filesDir}, "U": {"true"}})
	if err != nil && api.KindOf(err) != api.NotFound {
		return fmt.Errorf("notes of the files: %w", err)
	}
	notes := map[string]api.Cid{}
	for _, e := range list.Entries {
		name, err := url.PathUnescape(e.Name)
		if err != nil {
			f.n.log.Warn("a file among the notes of files is none", "file", filesDir+"/"+e.Name)
			continue
		}
		if notes[name], err = f.read(ctx, e.Name); err != nil {
			return err
		}
	}
	f.notes = notes
	return nil
}

func (f *Files) read(ctx context.Context, file string) (api.Cid, error) {
	body, err := f.n.post(ctx, "files/read", url.Values{"arg": {filesDir + "/" + file}}, nil)
	if err != nil {
		return api.CidUndef, fmt.Errorf("note of a file: %w", err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, 1<<10))
	if err := errors.Join(err, body.fault()); err != nil || len(text) == 0 {
		return api.CidUndef, err
	}
	return api.ParseCid(string(text))
}

func (f *Files) write(ctx context.Context, name string, c api.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, f.n.o.IPFSRequestTimeout)
	defer cancel()
	text := ""
	if c.Defined() {
		text = c.String()
	}
	if err := f.n.writeFile(ctx, filesDir+"/"+url.PathEscape(name), text); err != nil {
		return fmt.Errorf("note file %q: %w", name, err)
	}
	f.notes[name] = c
	return nil
}

func (f *Files) remove(ctx context.Context, name string) error {
	err := f.n.call(ctx, nil, "files/rm", url.Values{"arg": {filesDir + "/" + url.PathEscape(name)}, "force": {"true"}})
	if err != nil {
		return fmt.Errorf("forget file %q: %w", name, err)
	}
	delete(f.notes, name)
	return nil
}

// writeFile makes text the whole of a file of the MFS.
func (n *Node) writeFile(ctx context.Context, path, text string) error {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreateFormFile("data", "data")
	if err == nil {
		_, err = io.WriteString(part, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	args := url.Values{"arg": {path}, "create": {"true"}, "parents": {"true"}, "truncate": {"true"}}
	return n.send(ctx, nil, "files/write", args, &upload{&buf, w.FormDataContentType()})
}
