package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/multiformats/go-multiaddr"
	"github.com/pinfold-cluster/pinfold/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.WriteFile("testdata/"+name, got, 0o644))
	}
	want, err := os.ReadFile("testdata/" + name)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has changed:\n%s", name, got)
	}
}

// The rows on disk are a format: old databases and other peers must read them.
func TestFormat_IsTheGoldenOne(t *testing.T) {
	s := openState(t, t.TempDir())
	p := testPin(3)
	p.Leaving = []api.PeerID{testPeer(3)}
	p.Followers = []api.PeerID{testPeer(5)}
	p.ExpireAt = epoch.Add(time.Hour)
	p.Name = "a\x00b"
	p.Origins = []api.Multiaddr{multiaddr.StringCast("/ip4/1.2.3.4/tcp/4001")}
	p.PinUpdate, p.Reference, p.ShardSize = testCid(1), testCid(2), 104857600
	everywhere := testPin(5)
	everywhere.ReplicationFactorMin, everywhere.ReplicationFactorMax = -1, -1
	everywhere.Allocations, everywhere.Metadata, everywhere.Name, everywhere.MaxDepth = nil, nil, "", 0
	p.Revision, everywhere.Revision = 1024, 300
	commitAt(t, s, 1024, func(b *Batch) error {
		b.OpenSession(testPeer(1), 77)
		_, err := b.UseCredential([]byte("nonce"), testPeer(4), 1800000000, 1700000000)
		return errors.Join(err, b.Put(p), b.Put(everywhere), b.SetOutcome(testPeer(1), 9, 1024, 8),
			b.PutMember(api.Member{ID: testPeer(1), DataID: testPeer(2), Name: "one", Certificate: []byte{1, 2}}),
			b.RemoveMember(testPeer(4)),
			b.PutKey(api.ClusterKey{Number: 2, Private: bytes.Repeat([]byte{7}, 64), Renewals: [][]byte{{1, 2}, {3}}, Owed: true}))
	})
	var rows bytes.Buffer
	must(t, eachRow(s.live.db, nil, func(k, v []byte) error {
		_, err := fmt.Fprintf(&rows, "%c %x = %x\n", k[0], k[1:], v)
		return err
	}))
	golden(t, "rows.golden", rows.Bytes())
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, err)
	return b
}

func TestReadExport_TakesTheIncumbents(t *testing.T) {
	file := readFile(t, "ipfs-cluster-1.1.6.ndjson")
	s := openState(t, t.TempDir())
	byName := map[string]api.Pin{}
	for p, err := range ReadExport(bytes.NewReader(file)) {
		must(t, err)
		byName[p.Name] = p
		put(t, s, p)
	}
	const peer0, peer1 = "12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqaXSG", "12D3KooWMPrfBEZDMyNn1dVxBcMck2cmJgL3iqLS772Tm9sDaSDB"
	for name, tell := range map[string]func(p api.Pin) any{
		"everywhere -1 -1 recursive -1":     func(p api.Pin) any { return p.Everywhere() && len(p.Allocations) == 0 },
		"direct 1 1 direct 0":               func(p api.Pin) any { return p.Allocations[0].String() == peer0 },
		"expiring 1 2 recursive -1":         func(p api.Pin) any { return p.ExpireAt.Equal(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)) },
		"metadata 2 3 recursive -1":         func(p api.Pin) any { return p.Metadata["team"] == "a&b" && len(p.Metadata) == 2 },
		"origins 1 1 recursive -1":          func(p api.Pin) any { return len(p.Origins) == 2 },
		"updated 1 1 recursive -1":          func(p api.Pin) any { return p.PinUpdate.Defined() },
		"sharded -1 -1 direct 0":            func(p api.Pin) any { return p.Type == api.PinMeta && p.Reference.Defined() },
		"sharded-clusterDAG -1 -1 direct 0": func(p api.Pin) any { return p.Type == api.PinClusterDAG },
		"sharded-shard-0 1 1 recursive 1":   func(p api.Pin) any { return p.Type == api.PinShard && p.Allocations[0].String() == peer1 },
		"epoch 1 1 recursive -1":            func(p api.Pin) any { return !p.Expires() && p.ExpireAt.IsZero() },
	} {
		want := name
		name, _, _ = strings.Cut(name, " ")
		p, ok := byName[name]
		got := fmt.Sprintf("%s %d %d %s %d", p.Name, p.ReplicationFactorMin, p.ReplicationFactorMax, p.Mode, p.MaxDepth)
		if !ok || got != want || tell(p) != true {
			t.Errorf("got %q, want %q: %+v", got, want, p)
		}
	}
	must(t, s.Verify(t.Context()))

	var out bytes.Buffer
	index, err := s.Export(t.Context(), &out)
	if err != nil || index != s.Applied() {
		t.Fatalf("export at %d: %v", index, err)
	}
	// What is exported is what came in, but for the order and what is not stored.
	want := map[string]bool{}
	for line := range strings.Lines(strings.NewReplacer("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", `"metadata":{}`, `"metadata":null`,
		`"origins":null`, `"origins":[]`, `04:04:05+01:00`, `03:04:05Z`, `,"unknown_to_us":{"a":[1]}`, ``).Replace(string(file))) {
		want[line] = true
	}
	for line := range strings.Lines(out.String()) {
		if !want[line] {
			t.Errorf("exported, but not imported: %s", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("lost: %s", line)
	}
}

func TestExport_ComesBack(t *testing.T) {
	s, other := openState(t, t.TempDir()), openState(t, t.TempDir())
	p := testPin(1)
	p.Leaving, p.Name = []api.PeerID{testPeer(4)}, "<&>\u2028\x00"
	put(t, s, p, testPin(2))
	var out bytes.Buffer
	_, err := s.Export(t.Context(), &out)
	must(t, err)
	var pins []api.Pin
	for p, err := range ReadExport(&out) {
		must(t, err)
		pins = append(pins, p)
	}
	put(t, other, pins...)
	if s.Digest().Pins != other.Digest().Pins {
		t.Fatal("the state that comes back is another")
	}
	if _, err := s.Export(t.Context(), failingWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("export to a writer that fails: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReadExport_NamesBadLines(t *testing.T) {
	const good = `{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"}`
	for name, tc := range map[string]struct {
		line string
		kind api.Kind
		says string
	}{
		"not JSON":        {`{"cid":`, api.Invalid, "not JSON"},
		"an array":        {`[]`, api.Invalid, "array"},
		"no CID":          {`{"name":"x"}`, api.Invalid, "CID"},
		"a bad CID":       {`{"cid":"Qm"}`, api.Invalid, "Cid"},
		"a bad type":      {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","type":"bad-type"}`, api.Invalid, "bad-type"},
		"a bad mode":      {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","mode":"x"}`, api.Invalid, "pin mode"},
		"a bad peer":      {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","allocations":["x"]}`, api.Invalid, "peer"},
		"a bad multiaddr": {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","origins":["x"]}`, api.Invalid, "multiaddr"},
		"a bad time":      {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","expire_at":"tomorrow"}`, api.Invalid, "tomorrow"},
		"a large record":  {`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","name":"` + strings.Repeat("x", 20000) + `"}`, api.TooLarge, "bytes"},
		"a long line":     {`{"cid":"` + strings.Repeat("x", 1<<20) + `"}`, api.TooLarge, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			pins, faults := 0, []error{}
			for _, err := range ReadExport(strings.NewReader(good + "\n\n" + tc.line + "\r\n" + good)) {
				if err != nil {
					faults = append(faults, err)
				} else {
					pins++
				}
			}
			if pins != 2 || len(faults) != 1 {
				t.Fatalf("%d pins, %v", pins, faults)
			}
			err := faults[0]
			if api.KindOf(err) != tc.kind || !strings.HasPrefix(err.Error(), "line 3: ") || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %s: %.300v", api.KindOf(err), err)
			}
		})
	}
	var last error
	for _, last = range ReadExport(io.MultiReader(strings.NewReader(good+"\n"), iotest.ErrReader(io.ErrUnexpectedEOF))) {
	}
	if !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that fails: %v", last)
	}
}

func TestReadExport_FillsInWhatIsAbsent(t *testing.T) {
	for line, depth := range map[string]int{
		`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"}`:                                   -1,
		`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","mode":"direct"}`:                   0,
		`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","max_depth":null}`:                  -1,
		`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","mode":"recursive","max_depth":0}`:  0,
		`{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","mode":"recursive","max_depth":-1}`: -1,
	} {
		for p, err := range ReadExport(strings.NewReader(line)) {
			must(t, err)
			if p.MaxDepth != depth || p.Type != api.PinData || p.Mode.MaxDepth() != depth {
				t.Errorf("%s: %+v", line, p)
			}
		}
	}
}

// Whatever is read can be put, and comes back the same.
func FuzzReadExport(f *testing.F) {
	file, err := os.ReadFile("testdata/ipfs-cluster-1.1.6.ndjson")
	must(f, err)
	for line := range bytes.Lines(file) {
		f.Add(line)
	}
	f.Add([]byte("{}\n\n[]\r\n\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d decoder
		for p, err := range ReadExport(bytes.NewReader(data)) {
			if err != nil {
				if k := api.KindOf(err); k != api.Invalid && k != api.TooLarge {
					t.Fatalf("%s: %v", k, err)
				}
				continue
			}
			stored, _, err := d.encode(p)
			if err != nil || !reflect.DeepEqual(stored, p) {
				t.Fatalf("%v: %+v came back as %+v", err, p, stored)
			}
			indexKeys(p, func(k []byte) {
				if len(k) > 1+2*maxNameKey+2+maxCidSize {
					t.Fatalf("a key of %d bytes", len(k))
				}
			})
		}
	})
}

// Our decoder gives what api.Decode gives, or leaves it to that.
func FuzzRecord(f *testing.F) {
	var d decoder
	full := testPin(1)
	full.Leaving = []api.PeerID{testPeer(3)}
	full.Followers = []api.PeerID{testPeer(5), testPeer(6)}
	full.ExpireAt = epoch
	full.Origins = []api.Multiaddr{multiaddr.StringCast("/dns4/a.example/tcp/1")}
	full.PinUpdate, full.Reference, full.ShardSize = testCid(3), testCid(4), 1<<40
	for _, p := range []api.Pin{testPin(0), full, {Cid: testCid(1)}} {
		_, value, err := d.encode(p)
		must(f, err)
		f.Add(value)
		f.Add(value[:len(value)-1])
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var d decoder
		if p, ok := d.pin(value); ok {
			var want api.Pin
			if err := api.Decode(value, &want); err != nil {
				t.Fatalf("%x: read what api.Decode does not: %v", value, err)
			}
			if got, want := normal(p), normal(want); !reflect.DeepEqual(got, want) {
				t.Fatalf("%x:\ngot  %+v\nwant %+v", value, got, want)
			}
		}
		p, err := d.record(value)
		if err != nil {
			if api.KindOf(err) != api.Invalid {
				t.Fatal(err)
			}
			return
		}
		if _, err := json.Marshal(p); err != nil {
			t.Fatal(err)
		}
	})
}
