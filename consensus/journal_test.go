package consensus

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

func openLogStore(t testing.TB, dir string, o Options) *logStore {
	t.Helper()
	db, err := openBolt(dir)
	check(t, err)
	s, err := newLogStore(dir, db, newFault(), o.WithDefaults(), func() uint64 { return 0 })
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// crash gives a log store as it is found after this process is killed.
func crash(t testing.TB, dir string, s *logStore) *logStore {
	t.Helper()
	s.writing.Lock()
	s.settling.Wait()
	defer s.writing.Unlock()
	after := t.TempDir()
	check(t, os.CopyFS(after, os.DirFS(dir)))
	return openLogStore(t, after, Options{})
}

func entries(from, to, term uint64, size int) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		data := bytes.Repeat([]byte{byte(i), byte(term)}, size/2)
		logs = append(logs, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: data, AppendedAt: time.Unix(0, int64(i))})
	}
	return logs
}

// wantLog checks that s has exactly the entries want.
func wantLog(t testing.TB, s *logStore, want ...*raft.Log) {
	t.Helper()
	first, err := s.FirstIndex()
	check(t, err)
	last, err := s.LastIndex()
	check(t, err)
	if first != want[0].Index || last != want[len(want)-1].Index {
		t.Fatalf("the log has %d to %d, want %d to %d", first, last, want[0].Index, want[len(want)-1].Index)
	}
	for _, w := range want {
		var l raft.Log
		check(t, s.GetLog(w.Index, &l))
		if l.Index != w.Index || l.Term != w.Term || l.Type != w.Type || !bytes.Equal(l.Data, w.Data) || !l.AppendedAt.Equal(w.AppendedAt) {
			t.Fatalf("entry %d is %d of term %d, %d bytes", w.Index, l.Index, l.Term, len(l.Data))
		}
	}
	var l raft.Log
	for _, i := range []uint64{first - 1, last + 1} {
		if err := s.GetLog(i, &l); err != raft.ErrLogNotFound {
			t.Fatalf("entry %d beyond the log: %v", i, err)
		}
	}
}

// Whatever StoreLogs has returned for is there after a kill: with the journal's first
// file in use, its second, each of them for the second time, and past a batch larger
// than a file.
func TestLogStore_KeepsAllOverAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLogStore(t, dir, Options{CacheBytes: 100 << 10})
	var all []*raft.Log
	store := func(n, size int) {
		logs := entries(uint64(len(all)+1), uint64(len(all)+n), 3, size)
		check(t, s.StoreLogs(logs))
		all = append(all, logs...)
	}
	store(1, 10)
	wantLog(t, crash(t, dir, s), all...)
	for s.journal.gen < 6 {
		before := s.journal.gen
		for s.journal.gen == before {
			store(9, 40<<10)
		}
		wantLog(t, crash(t, dir, s), all...)
	}
	store(70, 40<<10)
	store(2, 40<<10)
	wantLog(t, s, all...)
	wantLog(t, crash(t, dir, s), all...)
	s.mu.Lock()
	if s.held > journalSize*2 {
		t.Errorf("%d bytes are kept in memory", s.held)
	}
	s.mu.Unlock()
}

func TestLogStore_DeletedEntriesStayAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLogStore(t, dir, Options{CacheBytes: 1})
	old := entries(1, 60, 1, 60<<10) // settled for the most part
	for _, l := range old {
		check(t, s.StoreLog(l))
	}
	check(t, s.DeleteRange(41, 60))
	wantLog(t, crash(t, dir, s), old[:40]...)
	// Entries in the place of deleted ones: the database does not have them yet.
	young := entries(41, 50, 2, 1<<10)
	for _, l := range young {
		check(t, s.StoreLog(l))
	}
	wantLog(t, s, append(old[:40:40], young...)...)
	check(t, s.DeleteRange(1, 45))
	wantLog(t, s, young[5:]...)
	wantLog(t, crash(t, dir, s), young[5:]...)
	check(t, s.DeleteRange(46, 50))
	if last, _ := s.LastIndex(); last != 0 {
		t.Errorf("an empty log ends at %d", last)
	}
	later := entries(90, 91, 4, 10) // after a snapshot
	check(t, s.StoreLogs(later))
	wantLog(t, s, later...)
	wantLog(t, crash(t, dir, s), later...)
}

// The power goes while a record is written: what was stored before is there, and nothing else.
func TestLogStore_TornRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLogStore(t, dir, Options{})
	kept, torn := entries(1, 5, 1, 100), entries(6, 6, 1, 100)
	check(t, s.StoreLogs(kept))
	from := s.journal.at
	check(t, s.StoreLogs(torn))
	for at := from; at < s.journal.at; at += 9 {
		after := t.TempDir()
		check(t, os.CopyFS(after, os.DirFS(dir)))
		f, err := os.OpenFile(journalFile(after, int(s.journal.gen%2)), os.O_RDWR, 0)
		check(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at)
		check(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 0x80}, at)
		check(t, err)
		check(t, f.Close())
		db, err := openBolt(after)
		check(t, err)
		if last, err := db.LastIndex(); err != nil || last != 5 {
			t.Fatalf("with byte %d wrong the log ends at %d: %v", at, last, err)
		}
		check(t, db.Close())
	}
}

// What was stored and is lost is missed: a record before others, a file, a part of one,
// or the database that goes with them.
func TestLogStore_MissesWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(dir string, from, to int64) error{
		"a record before another": func(dir string, from, to int64) error {
			f, err := os.OpenFile(journalFile(dir, 1), os.O_RDWR, 0)
			check(t, err)
			defer f.Close()
			_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 8), from+20)
			return err
		},
		"the first record": func(dir string, from, to int64) error {
			f, err := os.OpenFile(journalFile(dir, 1), os.O_RDWR, 0)
			check(t, err)
			defer f.Close()
			_, err = f.WriteAt([]byte{0xff}, 2)
			return err
		},
		"a file cut short": func(dir string, from, to int64) error { return os.Truncate(journalFile(dir, 1), to) },
		"an empty file":    func(dir string, from, to int64) error { return os.Truncate(journalFile(dir, 1), 0) },
		"a file":           func(dir string, from, to int64) error { return os.Remove(journalFile(dir, 1)) },
		"the unused file":  func(dir string, from, to int64) error { return os.Remove(journalFile(dir, 0)) },
		"the database":     func(dir string, from, to int64) error { return os.Remove(filepath.Join(dir, logFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openLogStore(t, dir, Options{})
			check(t, s.StoreLogs(entries(1, 3, 1, 100)))
			from := s.journal.at
			check(t, s.StoreLogs(entries(4, 5, 1, 100)))
			to := s.journal.at
			check(t, s.StoreLogs(entries(6, 6, 1, 100)))
			after := t.TempDir()
			check(t, os.CopyFS(after, os.DirFS(dir)))
			check(t, harm(after, from, to))
			db, err := openBolt(after)
			if err == nil {
				last, _ := db.LastIndex()
				check(t, db.Close())
				t.Fatalf("it opens, up to entry %d", last)
			}
			if api.KindOf(err) != api.Conflict {
				t.Errorf("%v, want a conflict", err)
			}
		})
	}
}

// What an earlier filling of a file left is not read, whatever somebody had put into it.
func TestJournal_OldBytesAreNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := openJournal(dir, 3)
	check(t, err)
	defer j.close()
	forgery := journalOf(t, 3, entries(2, 2, 9, 10))[:200]
	short, err := encodeRecord(entries(1, 1, 1, 100))
	check(t, err)
	for pad := range 200 { // until the forged record begins where the short one will end
		long := entries(1, 1, 1, 10)
		long[0].Data = append(make([]byte, pad), forgery...)
		body, err := encodeRecord(long)
		check(t, err)
		if bytes.Index(body, forgery) == len(short) {
			check(t, j.append(body))
		}
	}
	if j.at == 0 {
		t.Fatal("no forgery is in its place")
	}
	j.at = 0
	check(t, j.append(short))
	b, err := os.ReadFile(journalFile(dir, 1))
	check(t, err)
	if g, err := readGeneration(b, 0); err != nil || len(g.logs) != 1 {
		t.Fatalf("%d entries are read: %v", len(g.logs), err)
	}
}

// journalOf gives the file of a journal with one record.
func journalOf(t testing.TB, gen uint64, logs []*raft.Log) []byte {
	t.Helper()
	dir := t.TempDir()
	j, err := openJournal(dir, gen)
	check(t, err)
	defer j.close()
	body, err := encodeRecord(logs)
	check(t, err)
	check(t, j.append(body))
	b, err := os.ReadFile(journalFile(dir, int(gen%2)))
	check(t, err)
	return b
}

func TestJournal_Golden(t *testing.T) {
	t.Parallel()
	logs := entries(7, 8, 2, 6)
	logs[1].Type, logs[1].Extensions, logs[1].AppendedAt = raft.LogConfiguration, []byte("ext"), time.Time{}
	b := journalOf(t, 5, logs)
	got := hex.EncodeToString(bytes.TrimRight(b, "\x00")) + "\n"
	file := filepath.Join("testdata", "journal-v1.hex")
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if got != string(want) {
		t.Errorf("a journal is\n%swant\n%s", got, want)
	}
	old, err := hex.DecodeString(strings.TrimSpace(string(want)))
	check(t, err)
	g, err := readGeneration(append(old, make([]byte, 64)...), 0)
	check(t, err)
	if fmt.Sprint(g.number, len(g.logs)) != "5 2" || string(g.logs[1].Extensions) != "ext" || !g.logs[1].AppendedAt.IsZero() {
		t.Errorf("the golden journal reads as %+v", g)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add(journalOf(f, 1, entries(1, 3, 1, 20))[:400])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := readGeneration(b, 0)
		if err == nil && len(g.logs) > 0 && g.number == 0 {
			t.Error("entries of no generation")
		}
	})
}
