package gateway

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

func codeOf(err error) int {
	var e *gateway.ErrorStatusCode
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// publish makes a name for target on n, valid for so long.
func publish(t *testing.T, n node, target string, valid time.Duration) ipns.Name {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := ipns.NameFromPeer(id)
	if target == "" {
		target = "/ipns/" + name.String() // itself
	}
	p, err := path.NewPath(target)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ipns.NewRecord(key, p, 1, time.Now().Add(valid), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ipns.MarshalRecord(rec)
	if err != nil {
		t.Fatal(err)
	}
	put(t, n, name, raw)
	return name
}

func put(t *testing.T, n node, name ipns.Name, raw []byte) {
	t.Helper()
	if err := n.PutName(name.Peer(), raw); err != nil {
		t.Fatal(err)
	}
}

func TestGateway_Names(t *testing.T) {
	s := newSite(t)
	n := newNode(t)
	s.add(t, n)
	site := publish(t, n, s.path(""), time.Hour)
	alias := publish(t, n, "/ipns/"+site.String()+"/sub", time.Hour)
	short := publish(t, n, s.path(""), 20*time.Second)
	expired := publish(t, n, s.path(""), -time.Second)
	loop := publish(t, n, "", time.Hour)
	stolen := publish(t, n, s.path(""), time.Hour)
	record, err := n.GetName(site.Peer())
	if err != nil {
		t.Fatal(err)
	}
	put(t, n, stolen, record) // signed by another key
	broken := publish(t, n, s.path(""), time.Hour)
	put(t, n, broken, []byte("x"))
	g := serve(t, n, Options{})

	for name, c := range map[string]conforms{
		"file":                 {target: "!/ipns/" + site.String() + "/hello.txt", code: 200, body: "hello\n", want: map[string]string{"Cache-Control": "public, max-age=60", "Etag": `"` + s.part["hello.txt"].Root.String() + `"`}},
		"through another name": {target: "!/ipns/" + alias.String() + "/two%20words.txt", code: 200, body: "two\n"},
		"not there":            {target: "!/ipns/" + site.String() + "/none", code: 404},
		"on a subdomain":       {target: "!/hello.txt", headers: []string{"Host", site.String() + ".ipns.localhost"}, code: 200, body: "hello\n"},
		"to the subdomain":     {target: "!/ipns/" + site.Peer().String() + "/a", headers: []string{"Host", "localhost"}, code: 301, want: map[string]string{"Location": "http://" + site.String() + ".ipns.localhost/a"}},
		"the other form":       {target: "!/ipns/" + site.Peer().String() + "/a", code: 302, want: map[string]string{"Location": "/ipns/" + site.String() + "/a"}},
		"expired":              {target: "!/ipns/" + expired.String(), code: 404},
		"leads to itself":      {target: "!/ipns/" + loop.String(), code: 502},
		"of another key":       {target: "!/ipns/" + stolen.String(), code: 502},
		"no record":            {target: "!/ipns/" + broken.String(), code: 502},
		"expired, as record":   {target: "!/ipns/" + expired.String() + "?format=ipns-record", code: 404},
		"others', as record":   {target: "!/ipns/" + stolen.String() + "?format=ipns-record", code: 502},
		"CAR":                  {target: "!/ipns/" + site.String() + "/hello.txt?format=car", code: 200},
		"only if cached":       {target: "!/ipns/" + site.String() + "/hello.txt", headers: []string{"Cache-Control", "only-if-cached"}, code: 200},
	} {
		t.Run(name, func(t *testing.T) { c.check(t, g, s) })
	}
	t.Run("valid for less than its TTL", func(t *testing.T) {
		res := ask(t, g, "GET", "/ipns/"+short.String()+"/hello.txt")
		c := res.Header.Get("Cache-Control") // less what has gone by since
		if age, err := strconv.Atoi(strings.TrimPrefix(c, "public, max-age=")); err != nil || age < 0 || age > 19 {
			t.Fatalf("Cache-Control: %s", c)
		}
	})
	t.Run("as record", func(t *testing.T) {
		res := ask(t, g, "GET", "/ipns/"+site.String()+"?format=ipns-record")
		if res.StatusCode != 200 || !bytes.Equal(res.body, record) || res.Header.Get("Content-Type") != "application/vnd.ipfs.ipns-record" {
			t.Fatalf("%s, %v", res.Status, res.Header)
		}
		if res = ask(t, g, "GET", "/ipns/"+site.String(), "Accept", "application/vnd.ipfs.ipns-record"); !bytes.Equal(res.body, record) {
			t.Fatalf("by Accept: %s", res.Status)
		}
	})
}
