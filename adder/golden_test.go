package adder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

//go:generate sh testdata/generate.sh

// content is size bytes that depend on nothing but the seed.
func content(seed string, size int) []byte {
	h := fnv.New64a()
	h.Write([]byte(seed))
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], h.Sum64())
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b)
	return b
}

func file(seed string, size int) files.Node { return files.NewBytesFile(content(seed, size)) }

// many is n files whose names have width bytes; the content of each is its number,
// or nothing.
func many(n, width int, empty bool) map[string]files.Node {
	m := map[string]files.Node{}
	for i := range n {
		name := fmt.Sprintf("%0*d", width, i)
		data := []byte(strconv.Itoa(i))
		if empty {
			data = nil
		}
		m[name] = files.NewBytesFile(data)
	}
	return m
}

// inputs are what golden.json has the CIDs of. A node can be read once.
var inputs = map[string]func() files.Node{
	"file-0":            func() files.Node { return file("0", 0) },
	"file-1":            func() files.Node { return file("1", 1) },
	"file-262143":       func() files.Node { return file("2", 262143) },
	"file-262144":       func() files.Node { return file("3", 262144) },
	"file-262145":       func() files.Node { return file("4", 262145) },
	"file-1m":           func() files.Node { return file("5", 1<<20) },
	"file-10m":          func() files.Node { return file("6", 10<<20) },
	"file-45613056":     func() files.Node { return file("7", 174*262144) }, // one full node
	"file-45613057":     func() files.Node { return file("8", 174*262144+1) },
	"file-small-chunks": func() files.Node { return file("9", 300_001) }, // several levels of tiny chunks
	"link":              func() files.Node { return files.NewLinkFile("some/where", nil) },
	"dir-empty":         func() files.Node { return files.NewMapDirectory(nil) },
	"dir-nested":        nested,
	// 4096 entries of 64 bytes are 256 KiB, the most that a directory may have: names
	// of 30 bytes where CIDs have 34, of 28 where they have 36.
	"dir-hamt-under": func() files.Node { return files.NewMapDirectory(many(4096, 28, true)) },
	"dir-hamt-at":    func() files.Node { return files.NewMapDirectory(many(4096, 30, true)) },
	"dir-hamt-over": func() files.Node {
		m := many(4095, 30, true)
		m["a name with one byte more: 31 B"] = files.NewBytesFile(nil)
		return files.NewMapDirectory(m)
	},
	"dir-hamt-many": func() files.Node { return files.NewMapDirectory(many(8000, 12, false)) },
	"dir-hamt-nested": func() files.Node {
		return files.NewMapDirectory(map[string]files.Node{
			"large": files.NewMapDirectory(many(6000, 20, false)),
			"small": files.NewMapDirectory(many(3, 20, false)),
			"file":  file("10", 300_000),
		})
	},

	"stat-file-0":        func() files.Node { return at(0o600, 1e9, 0).file("21", 0) },
	"stat-file-1":        func() files.Node { return at(0o4755, -5, 250_000_000).file("22", 1) },
	"stat-file-262145":   func() files.Node { return at(0o444, 1e9, 1).file("23", 262145) },
	"stat-file-45613056": func() files.Node { return at(0o777, 1<<33, 0).file("24", 174*262144) },
	"stat-file-none":     func() files.Node { return at(0, 1e9, 0).file("25", 300_000) },
	"stat-dir":           statDirectory,
	"stat-dir-hamt": func() files.Node {
		m := map[string]files.Node{}
		for name := range many(4096, 31, true) {
			m[name] = at(0o600, 1e9, 0).file("26", 0)
		}
		return at(0o2750, 1e9, 7).dir(m)
	},
}

func statDirectory() files.Node {
	return at(0o1777, 1e9, 999_999_999).dir(map[string]files.Node{
		"file": at(0o640, 1_700_000_000, 0).file("27", 10),
		"link": files.NewSymlinkFile("../else/where", time.Unix(1_600_000_000, 3)),
		"none": at(0, 1_500_000_000, 0).dir(nil),
		"sub": at(0o700, 1_400_000_000, 0).dir(map[string]files.Node{
			"big":   at(0o640, 1_700_000_000, 0).file("28", 600_000),
			"empty": at(0o640, 1_700_000_000, 0).file("29", 0),
		}),
	})
}

// meta is a file's or directory's mode, in Unix's bits, and its time.
type meta struct {
	mode uint32
	time time.Time
}

func at(mode uint32, seconds, nanos int64) meta { return meta{mode, time.Unix(seconds, nanos)} }

func (m meta) file(seed string, size int) files.Node {
	return files.NewBytesStatFile(content(seed, size), info{mode: files.UnixPermsToModePerms(m.mode), time: m.time, size: int64(size)})
}

func (m meta) dir(in map[string]files.Node) files.Node {
	return files.NewMapStatDirectory(in, info{mode: os.ModeDir | files.UnixPermsToModePerms(m.mode), time: m.time})
}

// info is an os.FileInfo.
type info struct {
	mode os.FileMode
	time time.Time
	size int64
}

func (i info) Name() string       { return "" }
func (i info) Size() int64        { return i.size }
func (i info) Mode() os.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.time }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// setMeta gives what was written to path, which is n, its modes and times.
func setMeta(n files.Node, path string) error {
	if dir, ok := n.(files.Directory); ok {
		it := dir.Entries()
		for it.Next() {
			if err := setMeta(it.Node(), filepath.Join(path, it.Name())); err != nil {
				return err
			}
		}
	}
	if n.ModTime().IsZero() {
		return nil
	}
	if _, link := n.(*files.Symlink); link {
		return files.UpdateModTime(path, n.ModTime())
	}
	return errors.Join(os.Chmod(path, n.Mode()&^os.ModeDir), os.Chtimes(path, n.ModTime(), n.ModTime()))
}

func nested() files.Node {
	return files.NewMapDirectory(map[string]files.Node{
		"a":       file("11", 10),
		"a.b":     file("12", 20),
		"B":       file("13", 262145),
		".hidden": file("14", 5),
		"empty":   file("15", 0),
		"link":    files.NewLinkFile("../else/where", nil),
		"ünï-文字🙂": file("16", 30),
		"sp ace":  file("17", 40),
		"d": files.NewMapDirectory(map[string]files.Node{
			"none": files.NewMapDirectory(nil),
			"deep": files.NewMapDirectory(map[string]files.Node{
				"er": files.NewMapDirectory(map[string]files.Node{"x": file("18", 1)}),
			}),
			"z": file("19", 600_000),
		}),
		"d-1": files.NewMapDirectory(map[string]files.Node{"y": file("20", 2)}),
	})
}

// addParams reads the arguments of ipfs add.
func addParams(t *testing.T, args string) api.AddParams {
	p := api.DefaultAddParams()
	raw := ""
	for _, arg := range strings.Fields(args) {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "--cid-version":
			p.CidVersion = int(value[0] - '0')
		case "--raw-leaves":
			raw = value + "set"
		case "--trickle":
			p.Layout = "trickle"
		case "--chunker":
			p.Chunker = value
		case "--hash":
			p.HashFun = value
		case "--wrap-with-directory":
			p.Wrap = true
		case "--inline":
			p.Inline = true
		case "--inline-limit":
			p.InlineLimit = number(t, value)
		case "--preserve-mode":
			p.PreserveMode = true
		case "--preserve-mtime":
			p.PreserveMtime = true
		case "--mode":
			p.FileMode = os.FileMode(number(t, value))
		case "--mtime":
			p.FileMtime = time.Unix(int64(number(t, value)), 0)
		case "--mtime-nsecs":
			p.FileMtime = p.FileMtime.Add(time.Duration(number(t, value)))
		default:
			t.Fatalf("unknown argument %s", arg)
		}
	}
	stat := p.PreserveMode || p.PreserveMtime || p.FileMode != 0 || !p.FileMtime.IsZero()
	p.RawLeaves = raw == "set" || raw == "" && p.CidVersion == 1 && !stat
	return p
}

func number(t *testing.T, s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func TestGolden_CIDsAreKubos(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Input, Args, Cid string }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("golden.json has only %d cases", len(cases))
	}
	seen := map[string]bool{}
	for _, tc := range cases {
		seen[tc.Input] = true
		t.Run(tc.Input+" "+tc.Args, func(t *testing.T) {
			t.Parallel()
			input, ok := inputs[tc.Input]
			if !ok {
				t.Fatal("no such input")
			}
			c := newCluster(t, 1, 1)
			dir := files.NewSliceDirectory([]files.DirEntry{files.FileEntry(tc.Input, input())})
			pin, out, err := c.add(t, dir, addParams(t, tc.Args))
			if err != nil {
				t.Fatal(err)
			}
			if got := pin.Cid.String(); got != tc.Cid {
				t.Fatalf("got %s, Kubo gives %s", got, tc.Cid)
			}
			if last := out[len(out)-1]; last.Cid != pin.Cid {
				t.Fatalf("the last line has %s", last.Cid)
			}
			// Everything under the root has been sent.
			complete(t, c.peers[c.ids[0]], pin)
		})
	}
	for name := range inputs {
		if !seen[name] {
			t.Errorf("golden.json has no case with %s", name)
		}
	}
}

// complete checks that all blocks of the pin are there, and that Size is their bytes.
func complete(t *testing.T, m *memory, pin api.Pin) {
	t.Helper()
	need := needs{}
	need.want(pin.Cid.Cid)
	for c, data := range m.blocks {
		if err := need.take(blockWith(t, data, c)); err != nil {
			t.Fatal(err)
		}
	}
	if missing, ok := need.missing(); ok {
		t.Fatalf("block %s was not sent", missing)
	}
	if pin.Size > 0 && uint64(m.bytes) > pin.Size { // of several roots nobody knows
		t.Fatalf("sent %d bytes, the pin says %d", m.bytes, pin.Size)
	}
}

// TestGolden_WriteInputs writes the inputs where testdata/generate.sh wants them, and
// checks that what is read back from disk has the CID of what was written.
func TestGolden_WriteInputs(t *testing.T) {
	dir, all := os.Getenv("GOLDEN_DIR"), true
	if dir == "" {
		dir, all = filepath.Join(t.TempDir(), "in"), false
	} else if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	m := map[string]files.Node{}
	for name, input := range inputs {
		if all || name == "dir-nested" || name == "link" || name == "file-262145" {
			m[name] = input()
		}
	}
	if err := files.WriteTo(files.NewMapDirectory(m), dir); err != nil {
		t.Fatal(err)
	}
	if err := setMeta(files.NewMapDirectory(m), dir); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(filepath.Join(dir, "dir-nested"))
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := files.NewSerialFile(filepath.Join(dir, "dir-nested"), true, stat)
	if err != nil {
		t.Fatal(err)
	}
	var roots []api.Cid
	for _, n := range []files.Node{onDisk, nested()} {
		pin, _, err := newCluster(t, 1, 1).add(t, files.NewMapDirectory(map[string]files.Node{"d": n}), api.DefaultAddParams())
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, pin.Cid)
	}
	if roots[0] != roots[1] {
		t.Fatalf("%s from disk, %s from memory", roots[0], roots[1])
	}
}
