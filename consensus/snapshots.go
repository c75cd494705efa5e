package consensus

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	keepSnapshots = 2
	metaFile      = "meta.json"
	checkpointDir = "state"   // a checkpoint of this peer's state, or
	archiveFile   = "archive" // what another peer sent
	unfinished    = "tmp-"    // prefix of what is not a snapshot yet
)

// snapshots is a raft.SnapshotStore of directories that hold a checkpoint of the state,
// or the archive of one that came from another peer. A checkpoint is hard links, so
// taking one costs no copy; it becomes an archive only as it is sent.
type snapshots struct {
	dir string
	log *slog.Logger
	at  atomic.Uint64 // index of the newest
}

// A snapshotMeta is what raft wants to know, and the index that the state inside has:
// raft's own label may be lower.
type snapshotMeta struct {
	raft.SnapshotMeta
	Applied uint64
}

// openSnapshots clears away what a crash left unfinished in dir, which it creates.
func openSnapshots(dir string, log *slog.Logger) (*snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	s := &snapshots{dir: dir, log: log}
	newest, err := s.newest()
	s.at.Store(newest.Index)
	return s, err
}

// scratch names a directory for a checkpoint, which is not there yet.
func (s *snapshots) scratch() string {
	return filepath.Join(s.dir, fmt.Sprintf("%scheckpoint-%d", unfinished, time.Now().UnixNano()))
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := snapshotMeta{SnapshotMeta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%020d-%d-%d", index, term, time.Now().UnixNano()),
		Index: index, Term: term, Configuration: c, ConfigurationIndex: configIndex}}
	dir := filepath.Join(s.dir, unfinished+meta.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return &sink{s: s, dir: dir, meta: meta}, nil
}

// List implements raft.SnapshotStore: newest first, by index, as a higher term may be
// that of an older pinset. One whose metadata is damaged is left out.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.list()
	if err != nil {
		return nil, err
	}
	out := make([]*raft.SnapshotMeta, len(metas))
	for i := range metas {
		out[i] = &metas[i].SnapshotMeta
	}
	return out, nil
}

func (s *snapshots) list() ([]snapshotMeta, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var metas []snapshotMeta
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			continue
		}
		m, err := s.meta(e.Name())
		if err != nil {
			s.log.Warn("snapshot is damaged", "id", e.Name(), "err", err)
			continue
		}
		metas = append(metas, m)
	}
	slices.SortFunc(metas, func(a, b snapshotMeta) int {
		return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.ID, a.ID))
	})
	return metas, nil
}

// newest gives the newest snapshot; its Index is 0 where there is none.
func (s *snapshots) newest() (snapshotMeta, error) {
	metas, err := s.list()
	if err != nil || len(metas) == 0 {
		return snapshotMeta{}, err
	}
	return metas[0], nil
}

func (s *snapshots) meta(id string) (m snapshotMeta, err error) {
	data, err := os.ReadFile(filepath.Join(s.dir, id, metaFile))
	if err != nil {
		return m, err
	}
	text, sum, _ := bytes.Cut(data, []byte("\n"))
	if want := sha256.Sum256(text); string(sum) != hex.EncodeToString(want[:]) {
		return m, errors.New("metadata does not match its checksum")
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, err
	}
	if m.ID != id {
		return m, fmt.Errorf("metadata is that of %s", m.ID)
	}
	return m, nil
}

// Open implements raft.SnapshotStore: the reader gives an archive.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, err := s.meta(id)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", id, err)
	}
	f, err := os.Open(filepath.Join(s.dir, id, archiveFile))
	if err == nil {
		return &m.SnapshotMeta, f, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	return &m.SnapshotMeta, packing(filepath.Join(s.dir, id, checkpointDir), m.Applied), nil
}

// A packer is the reading end of an archive that is being written.
type packer struct {
	*io.PipeReader
	running sync.WaitGroup
}

func packing(dir string, index uint64) *packer {
	r, w := io.Pipe()
	p := &packer{PipeReader: r}
	p.running.Go(func() { w.CloseWithError(writeArchive(w, dir, index)) })
	return p
}

func (p *packer) Close() error {
	err := p.PipeReader.Close()
	p.running.Wait()
	return err
}

// reap removes all but the newest snapshots.
func (s *snapshots) reap() error {
	metas, err := s.list()
	if err != nil {
		return err
	}
	for _, m := range metas[min(len(metas), keepSnapshots):] {
		if err := os.RemoveAll(filepath.Join(s.dir, m.ID)); err != nil {
			return err
		}
	}
	return nil
}

// A sink is a snapshot being made: from a checkpoint by adopt, or by Write from the
// archive that another peer sends.
type sink struct {
	s    *snapshots
	dir  string
	meta snapshotMeta
	file *os.File // the archive; nil for a checkpoint
	done bool
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return k.meta.ID }

// adopt takes over the checkpoint at dir, whose state has the index applied.
func (k *sink) adopt(dir string, applied uint64) error {
	size, err := archiveSize(dir)
	if err != nil {
		return err
	}
	k.meta.Size, k.meta.Applied = size, applied
	return os.Rename(dir, filepath.Join(k.dir, checkpointDir))
}

// Write implements raft.SnapshotSink.
func (k *sink) Write(b []byte) (int, error) {
	if k.file == nil {
		f, err := os.OpenFile(filepath.Join(k.dir, archiveFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return 0, err
		}
		k.file = f
	}
	n, err := k.file.Write(b)
	k.meta.Size += int64(n)
	return n, err
}

// Close implements raft.SnapshotSink. An archive is read through first, so that a
// damaged one never becomes a snapshot.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	if err := k.finish(); err != nil {
		return errors.Join(fmt.Errorf("finish snapshot %s: %w", k.meta.ID, err), os.RemoveAll(k.dir))
	}
	k.s.at.Store(max(k.s.at.Load(), k.meta.Index))
	return k.s.reap()
}

func (k *sink) finish() error {
	if k.file != nil {
		err := k.check()
		if err := errors.Join(err, k.file.Sync(), k.file.Close()); err != nil {
			return err
		}
	}
	text, err := json.Marshal(k.meta)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if err := writeSynced(filepath.Join(k.dir, metaFile), append(append(text, '\n'), hex.EncodeToString(sum[:])...)); err != nil {
		return err
	}
	if err := syncDir(k.dir); err != nil {
		return err
	}
	if err := os.Rename(k.dir, filepath.Join(k.s.dir, k.meta.ID)); err != nil {
		return err
	}
	return syncDir(k.s.dir)
}

func (k *sink) check() error {
	if _, err := k.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a, err := openArchive(k.file)
	if err != nil {
		return err
	}
	k.meta.Applied = a.index
	return a.unpack("")
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	if k.file != nil {
		k.file.Close()
	}
	return os.RemoveAll(k.dir)
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
