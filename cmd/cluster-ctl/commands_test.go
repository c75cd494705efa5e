package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = log.New(io.Discard, "", 0)

func TestPinLs_AsksForWhatFlagsSay(t *testing.T) {
	s := newSession(t)
	var path, query string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, query = r.URL.Path, r.URL.Query().Encode()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(srv.Close)
	for flags, want := range map[string]string{
		"":                                 "/allocations?",
		"--filter pin,meta-pin":            "/allocations?filter=pin%2Cmeta-pin",
		"--filter all":                     "/allocations?",
		"-n exact --meta a=b --meta c=d=e": "/allocations?meta-a=b&meta-c=d%3De&name=exact",
		"--name-prefix p --name-contains c --peer " + peerA:            "/allocations?name-contains=c&name-prefix=p&peer=" + peerA,
		"--since 2026-01-31T12:00:00Z --before 2026-02-01T00:00:00.5Z": "/allocations?before=2026-02-01T00%3A00%3A00.5Z&since=2026-01-31T12%3A00%3A00Z",
		"--status pinning,pinned --name-prefix p":                      "/pins?filter=",
	} {
		s.run(0, "--host "+srv.URL+" pin ls "+flags, "")
		if got := path + "?" + query; !strings.HasPrefix(got, want) {
			t.Errorf("%s: asked for %s, want %s", flags, got, want)
		}
	}
	for flags, want := range map[string]string{
		"--filter nonsense":            "reading --filter",
		"--status nonsense":            "want one of cluster_error, error, pin_error,",
		"--status pinned --filter pin": "give it or --status",
		"--meta nonsense":              "reading --meta: \"nonsense\" is not KEY=VALUE",
		"--peer nonsense":              "reading --peer",
		"--since yesterday":            "reading --since: \"yesterday\" is no time such as",
		"--name x " + cidV0:            "nothing left to choose",
		"nonsense":                     "error",
	} {
		s.run(exitUsage, "--host "+srv.URL+" pin ls "+flags, want)
	}
}

// waiting serves a peer on which a pin goes through these statuses, one a look.
func waiting(t *testing.T, statuses ...string) (url string, looks *atomic.Int64) {
	looks = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pin := `"cid":"` + cidV0 + `","name":"n","type":"pin","max_depth":-1,"replication_factor_min":1,"replication_factor_max":2`
		switch {
		case r.URL.Path == "/add":
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "{\"name\":\"f\",\"cid\":%q}\n", cidV0)
		case r.Method != http.MethodGet || r.URL.Path == "/allocations/"+cidV0:
			fmt.Fprintf(w, "{%s}", pin)
		default:
			n := min(int(looks.Add(1)), len(statuses)) - 1
			if r.URL.Query().Get("wait") == "pinned" && statuses[n] == "busy" {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, `{"code":503,"message":"1000 requests wait for their pins already"}`)
				return
			}
			fmt.Fprintf(w, `{"cid":%q,"peer_map":{%q:{"peername":"p1","status":%q,"error":"no room"},%q:{"status":"remote"}}}`, cidV0, peerA, statuses[n], peerB)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, looks
}

func TestWait(t *testing.T) {
	s := newSession(t)
	for args, then := range map[string]struct {
		statuses []string
		code     int
		want     string
	}{
		"pin add --wait " + cidV0:                    {[]string{"pinning", "pinned"}, 0, "PINNED"},
		"pin add --wait --no-status " + cidV0:        {[]string{"pin_queued", "pinned"}, 0, cidV0 + " | n | PIN |"},
		"pin add -w /ipfs/" + cidV0:                  {[]string{"busy", "pinned"}, 0, "PINNED"},
		"pin add --wait -n other " + cidV0:           {[]string{"pinning", "pin_error"}, exitUsage, "waiting: on p1: pin_error: no room"},
		"pin add --wait --wt 1s " + cidV0:            {[]string{"pinning"}, exitDeadline, "not within 1s (--wait-timeout)"},
		"pin update --wait " + bulkCid + " " + cidV0: {[]string{"pinning", "pinned"}, 0, "PINNED"},
		"add --wait format.go":                       {[]string{"pinning", "pinned"}, 0, "added " + cidV0},
		"add --wait --wait-timeout 1s format.go":     {[]string{"pinning"}, exitDeadline, "(--wait-timeout)"},
		"pin rm --wait --wait-limit 1 " + cidV0:      {[]string{"unpinning", "unpinned"}, 0, "UNPINNED"},
		"pin add --wait --wait-limit -1 " + cidV0:    {[]string{"pinned"}, exitUsage, "reading --wait-limit"},
		"pin add --wait --file bulk_test.go":         {[]string{"pinned"}, exitUsage, "reading --wait"},
		"pin add --wt 1s " + cidV0:                   {[]string{"pinning"}, 0, "this does not wait"},
		"pin add --wait-timeout -1s " + cidV0:        {[]string{"pinned"}, exitUsage, "reading --wait-timeout"},
	} {
		url, looks := waiting(t, then.statuses...)
		s.run(then.code, "--host "+url+" "+args, then.want)
		if then.code == 0 && int(looks.Load()) < len(then.statuses) {
			t.Errorf("%s: ended after %d looks of %d", args, looks.Load(), len(then.statuses))
		}
	}
}

func TestWaitText(t *testing.T) {
	info := api.GlobalPinInfo{PeerMap: map[string]api.PinInfoShort{
		"a": {Status: api.StatusPinned, Bytes: 9 << 20}, "b": {Status: api.StatusPinning, Bytes: 3 << 20, Rate: 1 << 20}, "c": {Status: api.StatusPinning, Bytes: 1 << 20, Rate: 1 << 20},
		"d": {Status: api.StatusRemote}}}
	for size, want := range map[uint64]string{
		10 << 20: "1 of 3 peers pinned  4.0 MiB of 20 MiB  2.0 MiB/s  8s left  2s",
		0:        "1 of 3 peers pinned  4.0 MiB  2.0 MiB/s  2s",
	} {
		if got := waitText(info, api.StatusPinned, size, 2*time.Second); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, want := waitText(info, api.StatusUnpinned, 0, time.Second), "0 of 4 peers unpinned  1s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Events are lines; a stream that breaks off is taken up behind the last one.
func TestEvents(t *testing.T) {
	s := newSession(t)
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Encode())
		switch r.URL.Query().Get("after") {
		case "8":
			if len(asked) > 3 {
				w.WriteHeader(http.StatusGone)
				fmt.Fprint(w, `{"code":410,"message":"no more"}`)
			}
		case "6":
			fmt.Fprintf(w, ": a sign of life\n\nid: 7\nevent: pin\ndata: {\"index\":7,\"type\":\"pin\",\"time\":\"2026-01-31T12:00:00Z\",\"cid\":%q,\"name\":\"a\\u001bname\"}\n\n", cidV0)
		case "7":
			fmt.Fprintf(w, "data: {\"index\":8,\"type\":\"failed\",\"time\":\"2026-01-31T12:00:01Z\",\"cid\":%q,\"peer\":%q,\"bytes\":5,\"error\":\"no room\"}\n\n", cidV0, peerA)
		}
	}))
	t.Cleanup(srv.Close)
	out := s.run(exitRefused, "--host "+srv.URL+" events --types pin,failed --after 6", "  7  pin  "+cidV0+"  a�name\n")
	for _, want := range []string{"going on from event 7\n", "  8  failed  " + cidV0 + "  on " + peerA + "  5 bytes  no room\n", "going on from event 8\n", "  Message: no more\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("printed\n%s\nwithout %s", out, want)
		}
	}
	if got, want := strings.Join(asked, " "), "after=6&types=pin%2Cfailed after=7&types=pin%2Cfailed after=8&types=pin%2Cfailed after=8&types=pin%2Cfailed"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	s.run(exitRefused, "--host "+srv.URL+" --enc json events --after 7", `"error":"no room"`)
}

func TestAdd_OfURLs(t *testing.T) {
	s := newSession(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/dir/page" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "from the site")
	}))
	t.Cleanup(site.Close)
	var body string
	var nocopy bool
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		body, nocopy = string(text), r.URL.Query().Get("nocopy") == "true"
		fmt.Fprintf(w, `{"name":"page","cid":%q}`, cidV0)
	}))
	t.Cleanup(peer.Close)
	s.run(0, "--host "+peer.URL+" add "+site.URL+"/dir/page?x=y", "added "+cidV0+" page")
	if !strings.Contains(body, "from the site") || !strings.Contains(body, `filename="page"`) || nocopy {
		t.Errorf("sent %q", body)
	}
	s.run(0, "--host "+peer.URL+" add --nocopy "+site.URL+"/dir/page", "added")
	if !nocopy {
		t.Error("--nocopy was not sent")
	}
	s.run(exitUsage, "--host "+peer.URL+" add "+site.URL+"/none", "the site answers 404")
	s.run(exitUsage, "--host "+peer.URL+" add "+site.URL+"/dir/page "+site.URL+"/dir/page", "both would be named page")
}
