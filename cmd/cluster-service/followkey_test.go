package main

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"testing"

	"github.com/pinfold-cluster/pinfold/p2p"
)

// seeded is a key that is the same each time.
func seeded(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

// chain signs the renewals from each key to the next, of the link's cluster.
func chain(t *testing.T, link p2p.Link, keys ...byte) (list [][]byte) {
	t.Helper()
	for i := range len(keys) - 1 {
		from, to := seeded(keys[i]), seeded(keys[i+1])
		b, err := p2p.Renewal{Number: uint64(i + 1), Incarnation: link.Incarnation,
			Old: from.Public().(ed25519.PublicKey), New: to.Public().(ed25519.PublicKey)}.Sign(from)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// under is the link after its cluster's key was renewed, from the first of the keys on.
func under(t *testing.T, link p2p.Link, keys ...byte) p2p.Link {
	t.Helper()
	link.Key = seeded(keys[len(keys)-1]).Public().(ed25519.PublicKey)
	link.Renewals = chain(t, link, keys...)
	return link
}

func TestFollowed_AdoptsLinksOfANewerKey(t *testing.T) {
	base := newLink(t)
	for name, tc := range map[string]struct {
		old, link []byte // keys
		adopted   bool
		err       error
	}{
		"of the same key":       {[]byte{1}, []byte{1}, true, nil},
		"of the next key":       {[]byte{1}, []byte{1, 2}, true, nil},
		"of a later key":        {[]byte{1, 2}, []byte{1, 2, 3, 4}, true, nil},
		"of an earlier key":     {[]byte{1, 2, 3}, []byte{1, 2}, false, errOlder},
		"of the first key":      {[]byte{1, 2, 3}, []byte{1}, false, errOlder},
		"of another next key":   {[]byte{1, 2}, []byte{1, 9}, false, errAnother},
		"of another cluster":    {[]byte{1}, []byte{7}, false, errAnother},
		"of another's next key": {[]byte{1}, []byte{7, 8}, false, errAnother},
	} {
		t.Run(name, func(t *testing.T) {
			old, link := under(t, base, tc.old...), under(t, base, tc.link...)
			d := initFollowed(t, t.TempDir(), "archive", encodeLink(t, old))
			kept, err := d.adopt(old, link)
			if !errors.Is(err, tc.err) {
				t.Errorf("%v, want %v", err, tc.err)
			}
			want := old
			if tc.adopted {
				want = link
			}
			saved, err := d.loadLink()
			if err != nil || !kept.Key.Equal(want.Key) || !saved.Key.Equal(want.Key) {
				t.Errorf("kept %x, saved %x, want %x, %v", kept.Key, saved.Key, want.Key, err)
			}
		})
	}
}

// What a link says of the key counts more than what others have shown: where the follower
// has believed another, its pinset goes.
func TestFollowed_BelievesItsLinkMost(t *testing.T) {
	base := newLink(t)
	for name, tc := range map[string]struct {
		link, shown []byte
		key         byte
		number      uint64
		forgets     bool
	}{
		"nothing was shown":                   {[]byte{1}, []byte{1}, 1, 0, false},
		"what was shown leads on":             {[]byte{1}, []byte{1, 2, 3}, 3, 2, false},
		"what was shown leads on from a link": {[]byte{1, 2}, []byte{1, 2, 3}, 3, 2, false},
		"the link is further":                 {[]byte{1, 2, 3}, []byte{1, 2}, 3, 2, false},
		"the link says otherwise":             {[]byte{1, 2}, []byte{1, 9}, 2, 1, true},
		"it says otherwise of the second":     {[]byte{1, 2, 3}, []byte{1, 2, 9, 8}, 3, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			link := under(t, base, tc.link...)
			d := initFollowed(t, t.TempDir(), "archive", encodeLink(t, link))
			if err := errors.Join(d.saveRenewals(chain(t, link, tc.shown...)), os.MkdirAll(d.state(), 0o700)); err != nil {
				t.Fatal(err)
			}
			c, err := d.believed(link)
			if err != nil || !c.Key.Equal(seeded(tc.key).Public()) || c.Number() != tc.number || c.Sure != uint64(len(tc.link)-1) {
				t.Errorf("key %x, number %d, sure %d, %v", c.Key, c.Number(), c.Sure, err)
			}
			for file, there := range map[string]bool{d.state(): !tc.forgets, d.renewals(): !tc.forgets} {
				if _, err := os.Stat(file); (err == nil) != there {
					t.Errorf("%s: %v, want it there: %t", file, err, there)
				}
			}
		})
	}
}

// What goes on disk.
func TestFollowed_RenewalsGolden(t *testing.T) {
	d := followed{directory: directory(t.TempDir())}
	if list, err := d.loadRenewals(); list != nil || err != nil {
		t.Errorf("before there are any: %v, %v", list, err)
	}
	if err := d.saveRenewals([][]byte{{1, 2, 3}, {4}}); err != nil {
		t.Fatal(err)
	}
	const want = "{\n  \"renewals\": [\n    \"AQID\",\n    \"BA==\"\n  ]\n}\n"
	if text, err := os.ReadFile(d.renewals()); err != nil || string(text) != want {
		t.Errorf("the file is %s, %v", text, err)
	}
	if list, err := d.loadRenewals(); err != nil || len(list) != 2 || !bytes.Equal(list[1], []byte{4}) {
		t.Errorf("read again: %v, %v", list, err)
	}
}
