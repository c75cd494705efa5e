package rest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/events"
)

func peerOf(t *testing.T, s string) api.PeerID {
	t.Helper()
	id, err := api.ParsePeerID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// listenTo reads a stream of events until it has n.
func listenTo(t *testing.T, url, last string, n int) (got []api.Event) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	for len(got) < n && lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			got = append(got, e)
		}
	}
	return got
}

func TestEvents_GoOnWhereTheClientWas(t *testing.T) {
	c := &cluster{}
	c.events = events.New(100, c)
	url := c.serve(t) + "/events"
	first, err := c.events.Open(0, false) // somebody listens all the time
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for i := range 3 {
		p := api.NewPin(numberedCid(t, i), api.PinOptions{Name: "n"}, time.Unix(1, 0))
		p.Revision = uint64(101 + i)
		c.events.Track(p)
	}
	c.told(api.PinInfo{Cid: numberedCid(t, 0), Peer: peerOf(t, p0), PinInfoShort: api.PinInfoShort{Status: api.StatusPinError, Cause: api.CauseStalled, Error: "no"}})
	got := listenTo(t, url, "102", 3)
	for i, want := range []string{"102 pin", "103 pin", "103 failed"} {
		if text := strings.Join([]string{strconv.FormatUint(got[i].Index, 10), got[i].Type}, " "); text != want {
			t.Errorf("event %d: got %s, want %s", i, text, want)
		}
	}
	if got[2].Cause != api.CauseStalled || got[2].Error != "no" {
		t.Errorf("a failure: %+v", got[2])
	}
	if got := listenTo(t, url+"?types=failed&after=101", "", 1); got[0].Type != api.EventFailed {
		t.Errorf("of one type: %+v", got)
	}
	if got := listenTo(t, url, "7", 2); got[0].Type != api.EventGap || got[1].Type != api.EventPin || got[1].Index != 101 {
		t.Errorf("from what is not kept: %+v", got)
	}
}

// An id beyond the log is of another one, or of a state that was older when it was
// restored: what the client knows may not hold, and it is told so.
func TestEvents_TellWhoComesFromBeyondTheLog(t *testing.T) {
	c := &cluster{}
	c.events = events.New(100, c)
	url := c.serve(t) + "/events"
	first, err := c.events.Open(0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	p := api.NewPin(numberedCid(t, 1), api.PinOptions{}, time.Unix(1, 0))
	p.Revision = 101
	c.events.Track(p)
	c.behind = api.Invalid.Errorf("index 900 is not in the cluster's log: the last one is 101")
	got := listenTo(t, url+"?types=pin", "900", 2)
	if got[0].Type != api.EventGap || got[0].Index != 101 || got[0].Error != c.behind.Error() {
		t.Errorf("got %+v, want a gap that says why", got[0])
	}
	if got[1].Type != api.EventPin || got[1].Index != 101 || got[1].Error != "" {
		t.Errorf("after it: %+v", got[1])
	}
	if did := c.effects(); did != "index 900" {
		t.Errorf("it waited for %s", did)
	}
}

// Who listens with a token hears nothing more once that is revoked, or over.
func TestEvents_EndWithTheirToken(t *testing.T) {
	c := &cluster{}
	c.events = events.New(100, c)
	var revoked atomic.Bool
	tokens := web.Tokens{Revoked: func(string) bool { return revoked.Load() }}
	server := httptest.NewServer(c.handlerWith(web.Options{BasicAuthCredentials: map[string]string{"ann": "right"}, Tokens: tokens}))
	defer server.Close()
	token, err := tokens.New("ann", "right", api.ScopeRead, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for i := range 3 {
		p := api.NewPin(numberedCid(t, i), api.PinOptions{Name: "n"}, time.Unix(1, 0))
		p.Revision = uint64(101 + i)
		c.events.Track(p)
		if i == 0 { // until it is told
			for !strings.HasPrefix(lines.Text(), "data: ") && lines.Scan() {
			}
			revoked.Store(true)
		}
	}
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if all := strings.Join(rest, "\n"); strings.Contains(all, "data: ") || !strings.Contains(all, "the token has ended") {
		t.Errorf("after the end of the token: %q", all)
	}
}

func TestEvents_RefuseBadInput(t *testing.T) {
	c := &cluster{}
	url := c.serve(t) + "/events"
	for q, id := range map[string]string{"types=nothing": "", "types=pin,x": "", "types=%ff": "", "after=-1": "", "after=a": "", "after=1&after=2": "", "": "abc", "types=pin": "-1"} {
		res, body := do(t, "GET", url+"?"+q, nil, "Last-Event-ID", id)
		if res.StatusCode != http.StatusBadRequest || strings.Count(body, `"message":"`) != 1 {
			t.Errorf("%s %s: got %d %s", q, id, res.StatusCode, body)
		}
	}
	if res, body := do(t, "GET", url, nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("too many: got %d %s", res.StatusCode, body)
	}
}
