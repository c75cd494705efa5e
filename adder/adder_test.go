package adder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

func dirOf(entries ...files.DirEntry) files.Directory { return files.NewSliceDirectory(entries) }

func text(name, s string) files.DirEntry {
	return files.FileEntry(name, files.NewBytesFile([]byte(s)))
}

func folder(name string, entries ...files.DirEntry) files.DirEntry {
	return files.FileEntry(name, dirOf(entries...))
}

func TestAdd_PinsWhatAllDestinationsHold(t *testing.T) {
	c := newCluster(t, 3, 2)
	p := api.DefaultAddParams()
	p.Name, p.Size, p.Mode = "holiday", 600_000, api.PinDirect
	p.ReplicationFactorMin, p.ReplicationFactorMax = 2, 3
	pin, out, err := c.add(t, dirOf(files.FileEntry("f", file("x", 600_000))), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.pins) != 1 || c.sizes[0] != 600_000 {
		t.Fatalf("pins %v, sizes %v", c.pins, c.sizes)
	}
	got := c.pins[0]
	if !slices.Equal(got.Allocations, c.ids) || got.Name != "holiday" || got.Mode != api.PinRecursive || got.Size <= 600_000 || got.ReplicationFactorMax != 3 {
		t.Fatalf("pinned %+v", got)
	}
	if pin.Revision != 7 {
		t.Fatalf("the pin's revision is %d, want the log index", pin.Revision)
	}
	for _, m := range c.peers {
		complete(t, m, pin)
		if !slices.Equal(m.pinned, []cid.Cid{pin.Cid.Cid}) {
			t.Fatalf("pinned there: %v", m.pinned)
		}
	}
	if last := out[len(out)-1]; !slices.Equal(last.Allocations, c.ids) || last.Size != pin.Size {
		t.Fatalf("last line %+v", last)
	}
}

// Without a majority of the peers the root cannot be pinned; the add says so in time.
func TestAdd_GivesUpWithoutAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1)
		a := New(c.ids[0], noQuorum{c}, c, Options{}, quiet)
		began := time.Now()
		_, err := a.Add(t.Context(), dirOf(text("f", "x")), api.DefaultAddParams(), func(api.AddedOutput) error { return nil })
		if took := time.Since(began); api.KindOf(err) != api.Unavailable || took != pinTimeout {
			t.Fatalf("got %v after %s, want an Unavailable error after %s", err, took, pinTimeout)
		}
	})
}

// noQuorum waits for a majority that does not come.
type noQuorum struct{ *cluster }

func (noQuorum) Pin(ctx context.Context, _ api.Pin) (api.Pin, uint64, error) {
	<-ctx.Done()
	return api.Pin{}, 0, api.Unavailable.Errorf("timed out waiting for leader: %w", ctx.Err())
}

func TestAdd_Lines(t *testing.T) {
	const k256 = 262144
	tree := func() files.DirEntry {
		return folder("d", text("one.txt", "one1"), folder("sub", text("two.txt", "two")), files.FileEntry("ln", files.NewLinkFile("x", nil)))
	}
	for _, tc := range []struct {
		name string
		dir  files.Directory
		wrap bool
		want string
	}{
		{"one file", dirOf(text("one.txt", "one1")), false, `
			{"name":"","cid":null,"bytes":4}
			{"name":"one.txt","cid":"C","size":12,"allocations":A}`},
		{"an empty file", dirOf(text("none", "")), false, `
			{"name":"","cid":null}
			{"name":"none","cid":"C","size":6,"allocations":A}`},
		{"a wrapped file", dirOf(text("one.txt", "one1")), true, `
			{"name":"one.txt","cid":null,"bytes":4}
			{"name":"one.txt","cid":"C","size":12,"allocations":A}
			{"name":"","cid":"C","size":65,"allocations":A}`},
		{"a directory", dirOf(tree()), false, `
			{"name":"one.txt","cid":null,"bytes":4}
			{"name":"d/one.txt","cid":"C","size":12,"allocations":A}
			{"name":"sub/two.txt","cid":null,"bytes":3}
			{"name":"d/sub/two.txt","cid":"C","size":11,"allocations":A}
			{"name":"d/ln","cid":"C","size":7,"allocations":A}
			{"name":"d/sub","cid":"C","size":64,"allocations":A}
			{"name":"d","cid":"C","size":225,"allocations":A}`},
		{"a wrapped directory", dirOf(tree()), true, `
			{"name":"d/one.txt","cid":null,"bytes":4}
			{"name":"d/one.txt","cid":"C","size":12,"allocations":A}
			{"name":"d/sub/two.txt","cid":null,"bytes":3}
			{"name":"d/sub/two.txt","cid":"C","size":11,"allocations":A}
			{"name":"d/ln","cid":"C","size":7,"allocations":A}
			{"name":"d/sub","cid":"C","size":64,"allocations":A}
			{"name":"d","cid":"C","size":225,"allocations":A}
			{"name":"","cid":"C","size":273,"allocations":A}`},
		{"several files", dirOf(text("a", "1"), text("b", "22")), false, `
			{"name":"","cid":null,"bytes":1}
			{"name":"a","cid":"C","size":9,"allocations":A}
			{"name":"","cid":null,"bytes":2}
			{"name":"b","cid":"C","size":10,"allocations":A}`},
		{"a large file", dirOf(files.FileEntry("big", file("x", 2*k256+5))), false, `
			{"name":"","cid":null,"bytes":262144}
			{"name":"","cid":null,"bytes":524288}
			{"name":"","cid":null,"bytes":524293}
			{"name":"big","cid":"C","size":524477,"allocations":A}`},
		{"a file of whole chunks", dirOf(files.FileEntry("big", file("x", k256))), false, `
			{"name":"","cid":null,"bytes":262144}
			{"name":"","cid":null,"bytes":262144}
			{"name":"big","cid":"C","size":262158,"allocations":A}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 2, 1)
			p := api.DefaultAddParams()
			p.Progress, p.Wrap = true, tc.wrap
			_, out, err := c.add(t, tc.dir, p)
			if err != nil {
				t.Fatal(err)
			}
			allocations, err := json.Marshal(c.ids)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(tc.want)
			for i, o := range out {
				line, err := json.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				w := "no line"
				if i < len(want) {
					w = strings.NewReplacer(`"C"`, `"`+o.Cid.String()+`"`, `:A`, `:`+string(allocations)).Replace(want[i])
				}
				if string(line) != w {
					t.Errorf("line %d\n got %s\nwant %s", i, line, w)
				}
			}
			if len(out) != len(want) {
				t.Errorf("%d lines, want %d", len(out), len(want))
			}
		})
	}
}

func TestAdd_OnlyTheLastOfSeveralRootsIsPinned(t *testing.T) {
	c := newCluster(t, 1, 1)
	pin, out, err := c.add(t, dirOf(text("a", "1"), folder("b", text("x", "2")), text("c", "3")), api.DefaultAddParams())
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 4 || out[3].Name != "c" || pin.Cid != out[3].Cid || len(c.pins) != 1 {
		t.Fatalf("lines %v, pin %v", out, pin.Cid)
	}
	for _, o := range out {
		if _, ok := c.peers[c.ids[0]].blocks[o.Cid.Cid]; !ok {
			t.Errorf("%s was not stored", o.Name)
		}
	}
}

func TestAdd_RefusesBeforeAnythingHappens(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*api.AddParams)
		kind api.Kind
	}{
		{"layout", func(p *api.AddParams) { p.Layout = "flat" }, api.Invalid},
		{"format", func(p *api.AddParams) { p.Format = "tar" }, api.Invalid},
		{"no chunker of that name", func(p *api.AddParams) { p.Chunker = "fixed-1" }, api.Invalid},
		{"chunks of nothing", func(p *api.AddParams) { p.Chunker = "size-0" }, api.Invalid},
		{"negative chunks", func(p *api.AddParams) { p.Chunker = "size--5" }, api.Invalid},
		{"chunks over a block", func(p *api.AddParams) { p.Chunker = "size-2097152" }, api.Invalid},
		{"chunks of no number", func(p *api.AddParams) { p.Chunker = "size-9999999999999999999" }, api.Invalid},
		{"rabin of nothing", func(p *api.AddParams) { p.Chunker = "rabin-0" }, api.Invalid},
		{"rabin with a tiny mean", func(p *api.AddParams) { p.Chunker = "rabin-47" }, api.Invalid},
		{"rabin with a padded mean", func(p *api.AddParams) { p.Chunker = "rabin-0047" }, api.Invalid},
		{"rabin with a negative mean", func(p *api.AddParams) { p.Chunker = "rabin--100" }, api.Invalid},
		{"rabin with a huge mean", func(p *api.AddParams) { p.Chunker = "rabin-1500000" }, api.Invalid},
		{"rabin with a tiny minimum", func(p *api.AddParams) { p.Chunker = "rabin-1-2-3" }, api.Invalid},
		{"rabin the wrong way round", func(p *api.AddParams) { p.Chunker = "rabin-300-200-100" }, api.Invalid},
		{"rabin over a block", func(p *api.AddParams) { p.Chunker = "rabin-16-200-3000000" }, api.Invalid},
		{"no such hash", func(p *api.AddParams) { p.HashFun = "md4" }, api.Invalid},
		{"a hash that is none", func(p *api.AddParams) { p.HashFun, p.CidVersion = "identity", 1 }, api.Invalid},
		{"a weak hash", func(p *api.AddParams) { p.HashFun, p.CidVersion = "murmur3-x64-64", 1 }, api.Invalid},
		{"CIDv0 of another hash", func(p *api.AddParams) { p.HashFun = "sha2-512" }, api.Invalid},
		{"CIDv2", func(p *api.AddParams) { p.CidVersion = 2 }, api.Invalid},
		{"a wrapped CAR", func(p *api.AddParams) { p.Format, p.Wrap = "car", true }, api.Invalid},
		{"shards", func(p *api.AddParams) { p.Shard = true }, api.Unsupported},
		{"no copy", func(p *api.AddParams) { p.NoCopy = true }, api.Unsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 1, 1)
			p := api.DefaultAddParams()
			tc.set(&p)
			if _, _, err := c.add(t, dirOf(text("a", "1")), p); !errors.Is(err, tc.kind) {
				t.Fatalf("got %v, want kind %s", err, tc.kind)
			}
			if len(c.sizes) != 0 {
				t.Fatal("peers were chosen")
			}
		})
	}
}

func TestAdd_RefusesWhatIsNoTree(t *testing.T) {
	deep := text("x", "1")
	for range maxDepth + 1 {
		deep = folder("d", deep)
	}
	for _, tc := range []struct {
		name string
		dir  files.Directory
		wrap bool
	}{
		{"nothing", dirOf(), false},
		{"the same name twice", dirOf(text("a", "1"), text("a", "2")), true},
		{"a file where a directory was", dirOf(folder("a", text("x", "1")), text("a", "2")), true},
		{"a directory where a file was", dirOf(text("a", "2"), folder("a", text("x", "1"))), true},
		{"a way out", dirOf(folder("d", text("..", "1"))), false},
		{"a path for a name", dirOf(folder("d", text("a/b", "1"))), false},
		{"no name", dirOf(folder("d", folder("e", text("", "1")))), false},
		{"directories without end", dirOf(deep), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 2, 1)
			p := api.DefaultAddParams()
			p.Wrap = tc.wrap
			if _, _, err := c.add(t, tc.dir, p); !errors.Is(err, api.Invalid) {
				t.Fatalf("got %v, want Invalid", err)
			}
			nothingPinned(t, c)
		})
	}
}

func TestAdd_BoundsEntries(t *testing.T) {
	c := newCluster(t, 1, 1)
	a := c.adder(Options{Entries: 10})
	ignore := func(api.AddedOutput) error { return nil }
	if _, err := a.Add(t.Context(), dirOf(files.FileEntry("d", files.NewMapDirectory(many(9, 3, true)))), api.DefaultAddParams(), ignore); err != nil {
		t.Fatal(err)
	}
	_, err := a.Add(t.Context(), dirOf(files.FileEntry("d", files.NewMapDirectory(many(10, 3, true)))), api.DefaultAddParams(), ignore)
	if !errors.Is(err, api.TooLarge) {
		t.Fatalf("got %v, want TooLarge", err)
	}
}

func nothingPinned(t *testing.T, c *cluster) {
	t.Helper()
	if len(c.pins) != 0 {
		t.Errorf("pinned %v", c.pins)
	}
	for id, m := range c.peers {
		if len(m.pinned) != 0 || m.durable != 0 {
			t.Errorf("committed on peer %s", id)
		}
		if m.refuse == nil && m.aborted != 1 {
			t.Errorf("peer %s: %d aborts", id, m.aborted)
		}
	}
}

var errDisk = api.Full.Errorf("the disk is full")

// A destination that fails is left out as long as enough remain, whenever it fails.
func TestD16_AddLosesDestinations(t *testing.T) {
	ways := map[string]func(*memory){
		"refusing":       func(m *memory) { m.refuse = errDisk },
		"at once":        func(m *memory) { m.onPut = func(context.Context, int) error { return errDisk } },
		"in the middle":  func(m *memory) { m.onPut = failAt(3) },
		"at the end":     func(m *memory) { m.failCommit = errDisk },
		"with no answer": func(m *memory) { m.failCommit = api.Unknown.Errorf("the connection broke") },
	}
	for name, fail := range ways {
		for _, min := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s, %d of 3 needed", name, min), func(t *testing.T) {
				c := newCluster(t, 3, min)
				bad := c.peers[c.ids[1]]
				fail(bad)
				pin, out, err := c.add(t, dirOf(files.FileEntry("f", file("x", 8<<20))), api.DefaultAddParams())
				if min == 3 {
					if err == nil || !strings.Contains(err.Error(), c.ids[1].String()) {
						t.Fatalf("got %v, want an error that names %s", err, c.ids[1])
					}
					if want := api.KindOf(bad.cause()); api.KindOf(err) != want {
						t.Fatalf("got kind %s, want %s", api.KindOf(err), want)
					}
					if len(c.pins) != 0 {
						t.Fatal("something was pinned")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := []api.PeerID{c.ids[0], c.ids[2]}
				if !slices.Equal(pin.Allocations, want) || !slices.Equal(out[len(out)-1].Allocations, want) {
					t.Fatalf("allocations %v, want %v", pin.Allocations, want)
				}
				for _, id := range want {
					complete(t, c.peers[id], pin)
				}
				if bad.refuse == nil && bad.aborted != 1 {
					t.Fatalf("%d aborts of the lost destination", bad.aborted)
				}
			})
		}
	}
}

func failAt(n int) func(context.Context, int) error {
	return func(_ context.Context, batch int) error {
		if batch == n {
			return errDisk
		}
		return nil
	}
}

func (m *memory) cause() error {
	if m.failCommit != nil {
		return m.failCommit
	}
	return errDisk
}

func TestAdd_FailuresAbortEverything(t *testing.T) {
	broken := errors.New("the upload broke off")
	cut := func() files.Directory {
		r := io.MultiReader(bytes.NewReader(content("x", 3<<20)), failing{broken})
		return dirOf(folder("d", text("a", "1"), files.FileEntry("f", files.NewReaderFile(r)), text("b", "2")))
	}
	t.Run("a truncated upload", func(t *testing.T) {
		c := newCluster(t, 2, 1)
		if _, _, err := c.add(t, cut(), api.DefaultAddParams()); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		nothingPinned(t, c)
	})
	t.Run("a reader of the answer that has gone", func(t *testing.T) {
		c := newCluster(t, 2, 1)
		_, err := c.adder(Options{}).Add(t.Context(), dirOf(text("a", "1"), text("b", "2")), api.DefaultAddParams(),
			func(api.AddedOutput) error { return broken })
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		nothingPinned(t, c)
	})
	t.Run("a cancelled request", func(t *testing.T) {
		c := newCluster(t, 2, 1)
		ctx, cancel := context.WithCancel(t.Context())
		c.peers[c.ids[1]].onPut = func(pctx context.Context, _ int) error {
			cancel()
			<-pctx.Done() // a destination that hangs until it is told
			return pctx.Err()
		}
		_, err := c.adder(Options{}).Add(ctx, dirOf(files.FileEntry("f", file("x", 20<<20))), api.DefaultAddParams(),
			func(api.AddedOutput) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		nothingPinned(t, c)
	})
	t.Run("a pin that is refused", func(t *testing.T) {
		c := newCluster(t, 2, 1)
		c.fail = api.Unavailable.Errorf("no leader")
		_, out, err := c.add(t, dirOf(text("a", "1")), api.DefaultAddParams())
		if !errors.Is(err, api.Unavailable) {
			t.Fatalf("got %v", err)
		}
		if len(out) != 0 {
			t.Fatalf("the root was announced: %v", out)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAdd_NoPinStoresOnly(t *testing.T) {
	c := newCluster(t, 2, 2)
	p := api.DefaultAddParams()
	p.NoPin = true
	pin, out, err := c.add(t, dirOf(folder("d", text("a", "1"))), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.pins) != 0 || len(out) != 2 || out[1].Cid != pin.Cid {
		t.Fatalf("pins %v, lines %v", c.pins, out)
	}
	for _, m := range c.peers {
		complete(t, m, pin)
		if len(m.pinned) != 0 || m.durable != 1 {
			t.Fatalf("%d pinned, %d commits", len(m.pinned), m.durable)
		}
	}
}

func TestAdd_LocalSendsToThisPeerOnly(t *testing.T) {
	c := newCluster(t, 3, 2)
	p := api.DefaultAddParams()
	p.Local = true
	pin, _, err := c.add(t, dirOf(text("a", "1")), p)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(pin.Allocations, c.ids[:1]) {
		t.Fatalf("allocations %v", pin.Allocations)
	}
	complete(t, c.peers[c.ids[0]], pin)
	for _, id := range c.ids[1:] {
		if c.peers[id].puts != 0 {
			t.Fatal("blocks went elsewhere")
		}
	}
}

// A destination that stands still stops the reading of the upload after a few MiB.
func TestAdd_SlowDestinationHoldsBackTheUpload(t *testing.T) {
	c := newCluster(t, 2, 2)
	gate := make(chan struct{})
	c.peers[c.ids[1]].onPut = func(context.Context, int) error { <-gate; return nil }
	src := &metered{r: bytes.NewReader(content("x", 64<<20)), stopped: make(chan int64, 1), gate: gate}
	go func() { <-src.stopped; close(gate) }()
	pin, _, err := c.add(t, dirOf(files.FileEntry("f", files.NewReaderFile(src))), api.DefaultAddParams())
	if err != nil {
		t.Fatal(err)
	}
	complete(t, c.peers[c.ids[1]], pin)
}

// metered fails once it is read too far while the gate is shut, and opens it when
// the reading has gone as far as it may.
type metered struct {
	r       io.Reader
	n       int64
	stopped chan int64
	gate    chan struct{}
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.r.Read(b[:min(len(b), 64<<10)])
	m.n += int64(n)
	select {
	case <-m.gate:
	default:
		// Two batches wait at the destination, one gathers; ahead events, two hashing.
		if m.n == 4<<20 {
			m.stopped <- m.n
		}
		if m.n > 3*batchBytes+(2*ahead+4)*256<<10 {
			return 0, errors.New("read too far")
		}
	}
	return n, err
}

// The body of a real upload: each part is read once, and directories come in pieces.
func TestAdd_MultipartInAnyOrder(t *testing.T) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, name := range []string{"d/a", "top", "d/e/x", "d/b", "other/y", "d/e/z"} {
		part, err := w.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, name)
	}
	w.Close()
	// CreateFormFile keeps the base name only where it is parsed by FileName; boxo reads
	// the parameter itself.
	in, err := files.NewFileFromPartReader(multipart.NewReader(&body, w.Boundary()), "multipart/form-data")
	if err != nil {
		t.Fatal(err)
	}
	p := api.DefaultAddParams()
	p.Wrap = true
	pin, out, err := newCluster(t, 1, 1).add(t, in, p)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := newCluster(t, 1, 1).add(t, dirOf(
		folder("d", text("a", "d/a"), text("b", "d/b"), folder("e", text("x", "d/e/x"), text("z", "d/e/z"))),
		folder("other", text("y", "other/y")), text("top", "top")), p)
	if err != nil {
		t.Fatal(err)
	}
	if pin.Cid != want.Cid {
		t.Fatalf("got %s, want %s; lines %v", pin.Cid, want.Cid, out)
	}
	var names []string
	for _, o := range out {
		names = append(names, o.Name)
	}
	if got := strings.Join(names, " "); got != "d/a top d/e/x d/b other/y d/e/z d/e d other " {
		t.Fatalf("lines %q", got)
	}
}

// BenchmarkAdd adds 64 MiB to one destination that keeps nothing.
func BenchmarkAdd(b *testing.B) {
	data := content("bench", 64<<20)
	for _, tc := range []struct {
		name string
		set  func(*api.AddParams)
	}{
		{"raw", func(p *api.AddParams) { p.CidVersion, p.RawLeaves = 1, true }},
		{"v0", func(*api.AddParams) {}},
		{"raw-1MiB", func(p *api.AddParams) { p.CidVersion, p.RawLeaves, p.Chunker = 1, true, "size-1048576" }},
		{"buzhash", func(p *api.AddParams) { p.CidVersion, p.RawLeaves, p.Chunker = 1, true, "buzhash" }},
	} {
		b.Run(tc.name, func(b *testing.B) {
			c := newCluster(b, 1, 1)
			c.peers[c.ids[0]].forget = true
			a := c.adder(Options{})
			p := api.DefaultAddParams()
			tc.set(&p)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				dir := dirOf(files.FileEntry("f", files.NewReaderFile(bytes.NewReader(data))))
				if _, err := a.Add(b.Context(), dir, p, func(api.AddedOutput) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAddSmallFiles adds 10,000 files of 1 KiB in one directory.
func BenchmarkAddSmallFiles(b *testing.B) {
	c := newCluster(b, 1, 1)
	c.peers[c.ids[0]].forget = true
	a := c.adder(Options{})
	data := content("small", 1<<10)
	p := api.DefaultAddParams()
	for b.Loop() {
		entries := make([]files.DirEntry, 10_000)
		for i := range entries {
			entries[i] = files.FileEntry(fmt.Sprint(i), files.NewBytesFile(data))
		}
		if _, err := a.Add(b.Context(), dirOf(folder("d", entries...)), p, func(api.AddedOutput) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(10_000*b.N)/b.Elapsed().Seconds(), "files/s")
}
