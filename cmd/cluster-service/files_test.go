package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

// command sends a command to the peer's proxy, with content as its file if there is any,
// and gives the answer.
func (p *testPeer) command(content, command string, args ...string) string {
	p.t.Helper()
	body, mediaType := "", ""
	if content != "" {
		body = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" + content + "\r\n--x--\r\n"
		mediaType = "multipart/form-data; boundary=x"
	}
	name, query, _ := strings.Cut(command, "?")
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost,
		"http://"+p.daemon.proxy.Addrs()[0].String()+"/api/v0/"+name+"?"+query+"&"+url.Values{"arg": args}.Encode(), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Trailer.Get(api.StreamErrorTrailer) != "" {
		p.t.Fatalf("%s: %s %s, %v", command, res.Status, answer, errors.Join(err, errors.New(res.Trailer.Get(api.StreamErrorTrailer))))
	}
	return string(answer)
}

// imported adds content as the WebUI does, without a pin, and gives its CID.
func (p *testPeer) imported(content string) api.Cid {
	p.t.Helper()
	_, text, _ := strings.Cut(p.command(content, "add?pin=false"), `"Hash":"`)
	text, _, _ = strings.Cut(text, `"`)
	c, err := api.ParseCid(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// What the WebUI imports through one peer is a pin of the cluster under its name, all
// peers hold it, and it is let go when it is removed, unless it is pinned otherwise.
func TestFiles_AreKept(t *testing.T) {
	t.Run("embedded node", func(t *testing.T) { t.Parallel(); filesAreKept(t, startCluster(t, 3)) })
	t.Run("Kubo", func(t *testing.T) { t.Parallel(); filesAreKept(t, startWithKubo(t, 3)) })
}

// startWithKubo starts n peers, each with a Kubo daemon of its own as its node.
func startWithKubo(t *testing.T, n int) (peers []*testPeer) {
	t.Helper()
	for i := range n {
		p := newPeer(t, fmt.Sprint("peer", i+1), "IPFSHTTP_NODEMULTIADDRESS="+kubotest.Online(t))
		delete(p.settings, "EMBEDDED_GATEWAYLISTENMULTIADDRESS") // Kubo has its own
		if i == 0 {
			p.init()
		} else {
			p.mustJoin(peers[0].invite())
		}
		p.start()
		peers = append(peers, p)
		if i == 0 {
			waitTogether(t, peers)
		}
	}
	waitTogether(t, peers)
	return peers
}

func filesAreKept(t *testing.T, peers []*testPeer) {
	p, other := peers[0], peers[2]
	// names are those under which c is in the pinset, as another peer has it.
	names := func(c api.Cid) string {
		pin, err := other.daemon.state.Get(t.Context(), c)
		if errors.Is(err, api.NotFound) {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range pin.Requests {
			all = append(all, r.Name)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	becomes := func(what string, c api.Cid, want string) {
		t.Helper()
		eventually(t, patience, func() error {
			if got := names(c); got != want {
				return fmt.Errorf("%s is in the pinset as %q, want %q", what, got, want)
			}
			return nil
		})
	}
	held := func(c api.Cid, want bool) {
		t.Helper()
		for _, q := range peers {
			eventually(t, patience, func() error {
				_, here, err := q.daemon.node.PinStatus(t.Context(), c)
				if err == nil && here != want {
					err = fmt.Errorf("%s holds %s: %v, want %v", q.name, c, here, want)
				}
				return err
			})
		}
	}
	one, two := p.imported("one"), p.imported("two")
	p.command("", "files/cp", "/ipfs/"+one.String(), "/a.txt")
	becomes("a file", one, "/a.txt")
	held(one, true)
	p.command("", "files/mv", "/a.txt", "/b.txt")
	becomes("a moved file", one, "/b.txt")
	p.command("", "files/cp", "/ipfs/"+one.String(), "/c.txt")
	becomes("a file there twice", one, "/b.txt /c.txt")
	p.command("", "files/cp?force=true", "/ipfs/"+two.String(), "/b.txt")
	becomes("an overwritten file", one, "/c.txt")
	becomes("what overwrote it", two, "/b.txt")

	p.command("", "files/mkdir?parents=true", "/d/e")
	p.command("", "files/cp", "/ipfs/"+one.String(), "/d/e/f")
	_, text, _ := strings.Cut(p.command("", "files/stat", "/d"), `"Hash":"`)
	dir, err := api.ParseCid(text[:strings.IndexByte(text, '"')])
	if err != nil {
		t.Fatal(err)
	}
	becomes("a directory", dir, "/d")
	held(dir, true)
	p.command("", "files/rm?recursive=true", "/d")
	becomes("a removed directory", dir, "none")
	held(dir, false)

	p.command("", "pin/add", two.String())
	p.command("", "files/rm", "/b.txt")
	p.command("", "files/rm", "/c.txt")
	becomes("a removed file", one, "none")
	held(one, false)
	if pin, err := other.daemon.state.Get(t.Context(), two); err != nil {
		t.Errorf("what is pinned otherwise is gone: %v, %v", pin, err)
	}
	held(two, true)
}
