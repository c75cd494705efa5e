package p2p

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// D19 of the reference: a line that is no address became a nil one.
func TestD19_BadLinesAreNamed(t *testing.T) {
	one, two := newIdentity(t).ID, newIdentity(t).ID
	text := "/ip4/192.0.2.1/tcp/9096/p2p/" + one.String() + "\n" +
		"# a remark\n\n" +
		"/ip4/300.0.2.1/tcp/9096/p2p/" + one.String() + "\n" +
		"/ip4/192.0.2.1/tcp/9096\n" +
		"what\n" +
		"/dns4/b.example/tcp/9096/p2p/" + two.String() + "\r\n" +
		"/ip4/192.0.2.3/tcp/9096/p2p/" + one.String()
	got, err := ReadAddresses(strings.NewReader(text))
	want := []peer.AddrInfo{
		{ID: one, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096"), multiaddr.StringCast("/ip4/192.0.2.3/tcp/9096")}},
		{ID: two, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/b.example/tcp/9096")}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for _, line := range []string{"line 4", "line 5", "line 6"} {
		if err == nil || !strings.Contains(err.Error(), line) {
			t.Fatalf("got %v, want it to name %s", err, line)
		}
	}
	if _, err := ReadAddresses(strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		t.Fatal("a line of a megabyte passes")
	}
}

func TestBook_KeepsWhatItLearns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peerstore")
	b, err := openBook(file)
	if err != nil {
		t.Fatal(err)
	}
	id := newIdentity(t).ID
	name, first, second := multiaddr.StringCast("/dns4/c.example/tcp/9096"), multiaddr.StringCast("/ip4/192.0.2.1/tcp/1"), multiaddr.StringCast("/ip4/192.0.2.1/tcp/2")
	b.add(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{name, first}})
	b.learn(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{second}})
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	again, err := openBook(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []multiaddr.Multiaddr{name, second, first}
	if got := again.addrs(id); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	before, _ := os.Stat(file)
	if err := again.save(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(file); !os.SameFile(before, after) {
		t.Fatal("written again without a change")
	}
	for i := range 100 {
		b.learn(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/" + string(rune('1'+i%9)) + "00")}})
	}
	if got := b.addrs(id); len(got) > maxAddressesPerPeer || !got[0].Equal(name) {
		t.Fatalf("after 100 changes: %v", got)
	}
	b.remove(func(peer.ID) bool { return true })
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || len(data) != 0 {
		t.Fatalf("the file of an empty book: %q %v", data, err)
	}
}

func FuzzReadAddresses(f *testing.F) {
	f.Add([]byte("/ip4/192.0.2.1/tcp/9096/p2p/" + newIdentity(f).ID.String() + "\nx\n#\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		peers, _ := ReadAddresses(bytes.NewReader(b))
		for _, p := range peers {
			for _, a := range p.Addrs {
				if len(a) == 0 {
					t.Fatalf("an empty address of %s", p.ID)
				}
			}
		}
		var buf bytes.Buffer
		if err := WriteAddresses(&buf, peers); err != nil {
			t.Fatal(err)
		}
		again, err := ReadAddresses(&buf)
		if err != nil || len(again) > len(peers) {
			t.Fatalf("read back %v %v, want %v", again, err, peers)
		}
	})
}
