package state

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

const (
	currentFile    = "CURRENT"
	databaseName   = "db-%06d"
	databasePrefix = "db-"
)

// Open opens the state in dir, which it creates. Databases that a crash left beside
// the live one are removed.
func Open(dir string, o Options, log *slog.Logger) (*State, error) {
	return openOn(vfs.Default, dir, o, log)
}

func openOn(fs vfs.FS, dir string, o Options, log *slog.Logger) (*State, error) {
	o = o.WithDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Pebble takes its memtables out of the cache: without room for the one that is
	// filled and the one that is written out, no block would ever stay in it.
	cache := pebble.NewCache(o.CacheBytes + 2*o.MemTableBytes)
	s := &State{dir: dir, o: o, log: log, fs: fs, cache: cache, fault: newFault(), unseen: boundStep}
	if err := s.start(); err != nil {
		if s.fault.Err() == nil {
			s.cache.Unref()
		}
		return nil, err
	}
	return s, nil
}

func newFault() *disk.Fault { return disk.NewFault("state") }

func (s *State) start() error {
	name, err := readCurrent(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		name, err = s.create()
	}
	if err != nil {
		return err
	}
	d, err := s.openDatabase(filepath.Join(s.dir, name), false)
	if err != nil {
		return err
	}
	if s.mem, err = load(d.db); err != nil {
		d.release()
		return fmt.Errorf("open state database %s: %w", d.dir, err)
	}
	s.live = d
	return s.removeOthers(name)
}

// create makes the first database, empty, and returns its name. What a crash left of
// an earlier attempt goes; a database with something in it does not: then it is
// CURRENT that has been lost.
func (s *State) create() (name string, err error) {
	names, err := databases(s.dir)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		index, err := IndexAt(filepath.Join(s.dir, n))
		if err != nil {
			return "", err
		}
		if index > 0 {
			return "", api.Conflict.Errorf("%s has no %s file, but a database %s at log index %d", s.dir, currentFile, n, index)
		}
		if err := os.RemoveAll(filepath.Join(s.dir, n)); err != nil {
			return "", err
		}
	}
	name = fmt.Sprintf(databaseName, 1)
	d, err := s.openDatabase(filepath.Join(s.dir, name), true)
	if err != nil {
		return "", err
	}
	err = d.db.Set(headKey, head{}.encode(), pebble.Sync)
	d.release()
	if err = firstOf(err, d.closed); err != nil {
		return "", err
	}
	return name, writeCurrent(s.dir, name)
}

// Checkpoint makes dir, which must not exist, a database of its own that holds what
// has been committed: by hard links where it can, and synced. IndexAt tells what log
// index it is at.
func (s *State) Checkpoint(dir string) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	if err := d.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return fmt.Errorf("checkpoint state: %w", err)
	}
	return syncTree(dir)
}

// Incoming makes an empty directory beside the live database, to unpack one into for
// Replace. The caller removes it where nothing comes of it; else the next Open does.
func (s *State) Incoming() (dir string, err error) {
	names, err := databases(s.dir)
	if err != nil {
		return "", err
	}
	number := 0
	for _, n := range names {
		var i int
		if _, err := fmt.Sscanf(n, databaseName, &i); err == nil {
			number = max(number, i)
		}
	}
	dir = filepath.Join(s.dir, fmt.Sprintf(databaseName, number+1))
	return dir, os.Mkdir(dir, 0o700)
}

// Replace makes the database in dir, which Incoming gave, the live one, whole: nothing
// of the old one remains. It is opened first, so after an error the old one is live
// still; after a crash either is. Reads under way end on the old one, whose files go
// with the last of them.
func (s *State) Replace(dir string) error {
	old, err := s.acquire()
	if err != nil {
		return err
	}
	defer old.release()
	name := filepath.Base(dir)
	if filepath.Dir(filepath.Clean(dir)) != filepath.Clean(s.dir) || !isDatabase(name) || name == filepath.Base(old.dir) {
		return api.Invalid.Errorf("replace state by %s: not a directory that Incoming gave", dir)
	}
	if err := syncTree(dir); err != nil {
		return fmt.Errorf("replace state: %w", err)
	}
	d, err := s.openDatabase(dir, false)
	if err != nil {
		return err
	}
	mem, err := load(d.db)
	if err == nil {
		err = writeCurrent(s.dir, name)
	}
	if err != nil {
		d.release()
		return fmt.Errorf("replace state by %s: %w", dir, err)
	}
	s.writer.end()
	s.mu.Lock()
	s.live, s.mem = d, mem
	s.mu.Unlock()
	old.stale.Store(true)
	old.release() // as live; the deferred one is this call's own
	return nil
}

// IndexAt tells the log index that the database in dir has reached, 0 where there is
// none. It must not be open.
func IndexAt(dir string) (uint64, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	fault := newFault()
	o := pebbleOptions(Options{}.WithDefaults(), fault, slog.New(slog.DiscardHandler))
	o.ReadOnly, o.ErrorIfNotExists = true, true
	db, err := disk.Open(dir, o, fault)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open state database %s: %w", dir, err)
	}
	h, err := readHead(db)
	return h.applied, errors.Join(err, db.Close())
}

// readHead reads the head of a database; one in which none was written yet is empty.
func readHead(r pebble.Reader) (head, error) {
	value, err := getRow(r, headKey)
	if err != nil || value == nil {
		return head{}, err
	}
	return decodeHead(value)
}

func isDatabase(name string) bool {
	return strings.HasPrefix(name, databasePrefix) && name == filepath.Base(name)
}

// databases are the names of all directories of databases in dir, whole or not.
func databases(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && isDatabase(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (s *State) removeOthers(live string) error {
	names, err := databases(s.dir)
	for _, n := range names {
		if n != live {
			s.log.Info("removing a state database that is not in use", "dir", n)
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, n)))
		}
	}
	return err
}

func readCurrent(dir string) (name string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, currentFile))
	if err != nil {
		return "", err
	}
	name = strings.TrimSuffix(string(b), "\n")
	if !isDatabase(name) {
		return "", api.Internal.Errorf("%s in %s does not name a database: %q", currentFile, dir, name)
	}
	return name, nil
}

// writeCurrent makes name the live database of dir, on disk when it returns.
func writeCurrent(dir, name string) error {
	tmp := filepath.Join(dir, currentFile+".tmp")
	if err := os.WriteFile(tmp, []byte(name+"\n"), 0o600); err != nil {
		return err
	}
	// The directory of the database is to be there before its name is.
	if err := errors.Join(syncPath(tmp), syncPath(dir)); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, currentFile)); err != nil {
		return err
	}
	return syncPath(dir)
}

// syncTree syncs all files and directories under dir, and dir.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
