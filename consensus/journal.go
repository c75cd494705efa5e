package consensus

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	journalSize = 2 << 20 // bytes of each of its two files
	journalHead = 16      // bytes before a record's body
	// keyJournal is where the database says up to which generation it has all of the journal.
	keyJournal = "Journal"
)

// A journal makes entries durable by one write to a file that has its full length
// already, which needs one sync and none of the file system's own log. Its two files
// are filled in turn; a generation is one filling of one of them, and the database has
// the entries of a generation before its file is written over.
//
// A record is what one call stored: CRC-32C of all that follows, length of the body, and
// generation, big endian in 4, 4 and 8 bytes; then the body. A file ends before the first
// record that is not whole or of another generation; a head of zeros, written with each
// record and over by the next, keeps what an earlier filling left from being read.
type journal struct {
	files [2]*os.File
	gen   uint64 // of the records that are written now, in files[gen%2]
	at    int64  // where the next one goes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal opens the journal in dir, which it creates, to write the generation gen.
func openJournal(dir string, gen uint64) (*journal, error) {
	j := &journal{gen: gen}
	for i := range j.files {
		f, err := os.OpenFile(journalFile(dir, i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, errors.Join(err, j.close())
		}
		j.files[i] = f
		if err := prolong(f, journalSize); err != nil {
			return nil, errors.Join(fmt.Errorf("make %s: %w", f.Name(), err), j.close())
		}
	}
	return j, syncDir(dir)
}

func journalFile(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("journal.%d", i)) }

// prolong writes zeros from the end of f up to size, durably.
func prolong(f *os.File, size int64) error {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil || at >= size {
		return err
	}
	if _, err := f.Write(make([]byte, size-at)); err != nil {
		return err
	}
	return f.Sync()
}

func (j *journal) close() error {
	var errs []error
	for _, f := range j.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// fits tells whether a record with a body of n bytes, and the end after it, fit into what
// is left of the file.
func (j *journal) fits(n int) bool { return j.at+int64(n)+2*journalHead <= journalSize }

// append writes a record that fits, durably.
func (j *journal) append(body []byte) error {
	end := journalHead + len(body)
	b := make([]byte, end+journalHead)
	binary.BigEndian.PutUint32(b[4:], uint32(len(body)))
	binary.BigEndian.PutUint64(b[8:], j.gen)
	copy(b[journalHead:], body)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:end], castagnoli))
	f := j.files[j.gen%2]
	if _, err := f.WriteAt(b, j.at); err != nil {
		return err
	}
	j.at += int64(end)
	return syncData(f)
}

// turn begins the next generation. The database has what its file held already.
func (j *journal) turn() { j.gen, j.at = j.gen+1, 0 }

// An entryRecord is a raft.Log in a record's body.
type entryRecord struct {
	_          struct{} `cbor:",toarray"`
	Index      uint64
	Term       uint64
	Type       uint8
	Data       []byte
	Extensions []byte
	Appended   int64 // Unix nanoseconds, 0 unknown
}

func encodeRecord(logs []*raft.Log) ([]byte, error) {
	body := make([]entryRecord, len(logs))
	for i, l := range logs {
		body[i] = entryRecord{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data, Extensions: l.Extensions}
		if !l.AppendedAt.IsZero() {
			body[i].Appended = l.AppendedAt.UnixNano()
		}
	}
	return api.Encode(body)
}

func decodeRecord(b []byte) ([]*raft.Log, error) {
	var body []entryRecord
	if err := api.Decode(b, &body); err != nil {
		return nil, err
	}
	logs := make([]*raft.Log, len(body))
	for i, r := range body {
		logs[i] = &raft.Log{Index: r.Index, Term: r.Term, Type: raft.LogType(r.Type), Data: r.Data, Extensions: r.Extensions}
		if r.Appended != 0 {
			logs[i].AppendedAt = time.Unix(0, r.Appended)
		}
	}
	return logs, nil
}

// A generation is what one file of a journal holds.
type generation struct {
	number uint64
	logs   []*raft.Log
}

// readGeneration reads the file's last filling; zero for a file that has none past done,
// up to which the database has all. The error tells of a record that is whole and makes
// no sense, and of one that is not whole and has whole ones behind it: those were
// stored later, so it was once.
func readGeneration(b []byte, done uint64) (generation, error) {
	var g generation
	for {
		number, body, ok := wholeRecord(b)
		switch {
		case !ok && (len(b) < journalHead || bytes.Equal(b[:journalHead], make([]byte, journalHead))):
			return g, nil // the end
		case !ok:
			return g, intact(b, g, done)
		case number <= done || g.number != 0 && number != g.number:
			return g, nil // of an earlier filling
		}
		g.number = number
		logs, err := decodeRecord(body)
		if err != nil {
			return g, err
		}
		g.logs = append(g.logs, logs...)
		b = b[journalHead+len(body):]
	}
}

// intact tells whether b, what follows g in its file, is one record that was never
// stored whole: the end of a crash.
func intact(b []byte, g generation, done uint64) error {
	first, last := g.number, g.number
	if first == 0 {
		first, last = done+1, done+2
	}
	for ; len(b) >= journalHead; b = b[1:] {
		if number := binary.BigEndian.Uint64(b[8:]); number < first || number > last {
			continue // this is quicker than a checksum
		}
		if _, _, ok := wholeRecord(b); ok {
			return api.Conflict.Errorf("it is damaged, and entries that this peer had confirmed are lost: it must join again under a new identity")
		}
	}
	return nil
}

// wholeRecord reads the record at the start of b.
func wholeRecord(b []byte) (number uint64, body []byte, ok bool) {
	if len(b) < journalHead {
		return 0, nil, false
	}
	end := journalHead + int64(binary.BigEndian.Uint32(b[4:]))
	number = binary.BigEndian.Uint64(b[8:])
	if number == 0 || end > int64(len(b)) || crc32.Checksum(b[4:end], castagnoli) != binary.BigEndian.Uint32(b) {
		return 0, nil, false
	}
	return number, b[journalHead:end], true
}

// settledGeneration tells up to which generation db has all of the journal, and whether
// there is one.
func settledGeneration(db *raftboltdb.BoltStore) (done uint64, begun bool, err error) {
	done, err = db.GetUint64([]byte(keyJournal))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read how far the raft journal is settled: %w", err)
	}
	return done, true, nil
}

// replay puts into db what the journal in dir has beyond it. The error is Conflict where
// a part of the journal, or the database beside it, is lost.
func replay(dir string, db *raftboltdb.BoltStore) error {
	done, begun, err := settledGeneration(db)
	if err != nil {
		return err
	}
	var open []generation
	for i := range 2 {
		file := journalFile(dir, i)
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if begun && len(b) < journalSize {
			return api.Conflict.Errorf("%s is gone or cut short, and entries that this peer had confirmed with it: it must join again under a new identity", file)
		}
		g, err := readGeneration(b, done)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if g.number == 0 {
			continue
		}
		if !begun {
			return api.Conflict.Errorf("%s has entries that %s does not know of: the latter is lost, and this peer's votes with it: it must join again under a new identity", file, logFile)
		}
		open = append(open, g)
	}
	slices.SortFunc(open, func(a, b generation) int { return cmp.Compare(a.number, b.number) })
	for _, g := range open {
		if err := settleGeneration(db, g); err != nil {
			return fmt.Errorf("put the raft journal into the log: %w", err)
		}
	}
	return nil
}

// settleGeneration puts the entries of g into db, and then that it has them.
func settleGeneration(db *raftboltdb.BoltStore, g generation) error {
	if len(g.logs) > 0 {
		if err := db.StoreLogs(g.logs); err != nil {
			return err
		}
	}
	return db.SetUint64([]byte(keyJournal), g.number)
}
