package disk

import (
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A watched is the file system of the database in dir. An error at a file that Pebble
// cannot go on without, its log and its list of files, raises the fault, and Pebble
// never hears of it: it would panic, which its own locks do not survive. Errors at
// tables, of which it writes others, are its own; so are those in other directories.
type watched struct {
	vfs.FS
	dir   string
	fault *Fault
}

func (w *watched) vital(name string) bool {
	switch filepath.Ext(name) {
	case ".sst", ".blob":
		return false
	}
	return filepath.Dir(name) == filepath.Clean(w.dir)
}

// Unwrap implements vfs.FS.
func (w *watched) Unwrap() vfs.FS { return w.FS }

// file watches what was opened under name.
func (w *watched) file(name string, f vfs.File, err error) (vfs.File, error) {
	if !w.vital(name) {
		return f, err
	}
	return &watchedFile{f, w.fault}, w.fault.stop(err)
}

// Create implements vfs.FS. After the fault nothing is begun: Pebble would try for ever.
func (w *watched) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	_ = w.fault.stop(w.fault.Err())
	f, err := w.FS.Create(name, c)
	return w.file(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (w *watched) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(old, name, c)
	return w.file(name, f, err)
}

// OpenDir implements vfs.FS.
func (w *watched) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil || filepath.Clean(name) != filepath.Clean(w.dir) {
		return f, err
	}
	return &watchedFile{f, w.fault}, nil
}

type watchedFile struct {
	vfs.File
	fault *Fault
}

// Write implements vfs.File.
func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fault.stop(err)
}

// Sync implements vfs.File.
func (f *watchedFile) Sync() error { return f.fault.stop(f.File.Sync()) }

// SyncData implements vfs.File.
func (f *watchedFile) SyncData() error { return f.fault.stop(f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f *watchedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fault.stop(err)
}

// Close implements vfs.File.
func (f *watchedFile) Close() error { return f.fault.stop(f.File.Close()) }
