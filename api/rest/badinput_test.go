package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// refused checks that body is one error object with the answer's status, a 4xx (or
// one of the others given), and that nothing happened.
func refused(t *testing.T, c *cluster, status int, body string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	var e api.Error
	if err := dec.Decode(&e); err != nil || e.Code != status || e.Message == "" {
		t.Errorf("got %d %q: %v; want one error object", status, body, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Errorf("got %q: more than one object", body)
	}
	if got := c.effects(); got != "" {
		t.Errorf("refused, and yet: %s", got)
	}
}

// D5: an invalid option answered 400 and pinned all the same, with two bodies.
func TestD05_BadInputIsRefusedBeforeAnythingHappens(t *testing.T) {
	long := strings.Repeat("x", 7000)
	pin := "/pins/" + cid0
	for name, tc := range map[string]struct {
		method, path string
		status       int
	}{
		"cid":                       {"POST", "/pins/nonsense", 400},
		"bulk, wait":                {"POST", "/pins?wait=pinned", 400},
		"bulk, timeout":             {"POST", "/pins?timeout=1m", 400},
		"bulk, query":               {"POST", "/pins?wait=%zz", 400},
		"cid, status":               {"GET", "/pins/nonsense", 400},
		"cid, unpin":                {"DELETE", "/pins/" + cid0 + "x", 400},
		"cid, recover":              {"POST", "/pins/x/recover", 400},
		"cid, allocation":           {"GET", "/allocations/x", 400},
		"cid, escaped":              {"POST", "/pins/%00", 400},
		"cid, not UTF-8":            {"POST", "/pins/%ff%fe", 400},
		"cid, long":                 {"POST", "/pins/" + longCid(t), 400},
		"cid in list":               {"GET", "/pins?cids=" + cid0 + ",x", 400},
		"path, no root":             {"POST", "/pins/ipfs/nonsense/a", 400},
		"path, nothing":             {"POST", "/pins/ipfs/%20", 400},
		"path, dots":                {"POST", "/pins/ipfs/../../id", 400},
		"path, unpin":               {"DELETE", "/pins/ipld/nonsense", 400},
		"query, escape":             {"POST", pin + "?name=%zz", 400},
		"query, semicolon":          {"POST", pin + "?name=a;replication=1", 400},
		"min over max":              {"POST", pin + "?replication-min=3&replication-max=2", 400},
		"min not a number":          {"POST", pin + "?replication-min=two", 400},
		"min overflows":             {"POST", pin + "?replication-min=99999999999999999999", 400},
		"max fraction":              {"POST", pin + "?replication-max=1.5", 400},
		"factor zero":               {"POST", pin + "?replication=0", 400},
		"factor below -1":           {"POST", pin + "?replication=-2", 400},
		"factor absurd":             {"POST", pin + "?replication=1001", 400},
		"max absurd":                {"POST", pin + "?replication-max=2147483648", 400},
		"factors mixed":             {"POST", pin + "?replication-min=-1&replication-max=2", 400},
		"factors mixed the other":   {"POST", pin + "?replication-min=1&replication-max=-1", 400},
		"given twice":               {"POST", pin + "?replication=1&replication=2", 400},
		"mode":                      {"POST", pin + "?mode=shallow", 400},
		"shard size":                {"POST", pin + "?shard-size=-1", 400},
		"user allocations":          {"POST", pin + "?user-allocations=" + p0 + ",somebody", 400},
		"follower allocations":      {"POST", pin + "?follower-allocations=" + p0 + ",somebody", 400},
		"expire-at":                 {"POST", pin + "?expire-at=tomorrow", 400},
		"expire-at in the past":     {"POST", pin + "?expire-at=2020-01-01T00:00:00Z", 400},
		"expire-at too far":         {"POST", pin + "?expire-at=9999-12-31T23:59:59-10:00", 400},
		"expire-in":                 {"POST", pin + "?expire-in=5", 400},
		"expire-in too short":       {"POST", pin + "?expire-in=999ms", 400},
		"expire-in negative":        {"POST", pin + "?expire-in=-1h", 400},
		"pin-update":                {"POST", pin + "?pin-update=x", 400},
		"origins":                   {"POST", pin + "?origins=x", 400},
		"origin without peer":       {"POST", pin + "?origins=/ip4/1.2.3.4/tcp/1", 400},
		"name not UTF-8":            {"POST", pin + "?name=%ff", 400},
		"metadata not UTF-8":        {"POST", pin + "?meta-a=%ff", 400},
		"metadata key not UTF-8":    {"POST", pin + "?meta-%ff=a", 400},
		"metadata twice":            {"POST", pin + "?meta-a=1&meta-a=2", 400},
		"path form, option":         {"POST", "/pins/ipfs/" + cid0 + "?mode=x", 400},
		"address too long":          {"POST", pin + "?name=" + long + "&meta-a=" + long, 431},
		"peer":                      {"DELETE", "/peers/somebody", 400},
		"revoke":                    {"DELETE", "/peers/" + p1 + "?revoke=maybe", 400},
		"ttl":                       {"POST", "/peers/invite?ttl=soon", 400},
		"ttl too short":             {"POST", "/peers/invite?ttl=1ms", 400},
		"ttl negative":              {"POST", "/peers/invite?ttl=-1h", 400},
		"ttl absurd":                {"POST", "/peers/invite?ttl=90000h", 400},
		"status filter":             {"GET", "/pins?filter=nonsense", 400},
		"allocation filter":         {"GET", "/allocations?filter=nonsense", 400},
		"local twice":               {"POST", "/pins/recover?local=true&local=false", 400},
		"local that is no boolean":  {"POST", "/pins/" + cid0 + "/recover?local=maybe", 400},
		"local, recover all":        {"POST", "/pins/recover?local=maybe", 400},
		"local, status":             {"GET", "/pins/" + cid0 + "?local=maybe", 400},
		"local, statuses":           {"GET", "/pins?local=yes", 400},
		"local, gc":                 {"POST", "/ipfs/gc?local=2", 400},
		"gc query":                  {"POST", "/ipfs/gc?local=%", 400},
		"unknown path":              {"POST", "/pins/" + cid0 + "/frobnicate", 404},
		"unknown path, two slashes": {"POST", "/pins//" + cid0, 404},
		"add, no multipart":         {"POST", "/add", 400},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{}
			res, body := do(t, tc.method, c.serve(t)+tc.path, nil)
			if res.StatusCode != tc.status {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, tc.status)
			}
			refused(t, c, res.StatusCode, body)
		})
	}
}

// longCid is a well-formed CID that holds 1,000 bytes itself.
func longCid(t *testing.T) string {
	t.Helper()
	// z: base58; too long to write out, so made of its parts: f, hexadecimal; version 1,
	// raw, identity, 1,000 bytes.
	return "f015500" + "e807" + strings.Repeat("61", 1000)
}

func TestHandler_WrongMethodsChangeNothing(t *testing.T) {
	for _, path := range []string{"/id", "/version", "/peers", "/peers/" + p0, "/peers/invite", "/add", "/allocations", "/allocations/" + cid0, "/pins",
		"/pins/" + cid0 + "/recover", "/pins/ipfs/" + cid0, "/ipfs/gc", "/health", "/health/alerts", "/monitor/metrics", "/monitor/metrics/ping", "/repair"} {
		for _, method := range []string{"PUT", "PATCH", "TRACE"} {
			c := &cluster{}
			res, body := do(t, method, c.serve(t)+path, strings.NewReader("x"))
			if res.StatusCode != 405 || res.Header.Get("Allow") == "" {
				t.Errorf("%s %s: got %d %q, Allow %q; want 405", method, path, res.StatusCode, body, res.Header.Get("Allow"))
			}
			refused(t, c, res.StatusCode, body)
		}
	}
	c := &cluster{}
	url := c.serve(t)
	for path, allow := range map[string]string{"/pins/" + cid0: "DELETE, GET, POST", "/id": "GET", "/pins/ipfs/a%2Fb/c": "DELETE, POST"} {
		if res, _ := do(t, "FROB", url+path, nil); res.StatusCode != 405 || res.Header.Get("Allow") != allow {
			t.Errorf("%s: got %d, Allow %q; want %q", path, res.StatusCode, res.Header.Get("Allow"), allow)
		}
	}
	if res, body := do(t, "FROB", url+"/nowhere", nil); res.StatusCode != 404 {
		t.Errorf("an unknown path: got %d %s", res.StatusCode, body)
	}
}

func TestHandler_BodiesTooLarge(t *testing.T) {
	for _, path := range []string{"/pins/" + cid0, "/pins/" + cid0 + "/recover", "/peers/invite", "/ipfs/gc", "/pins/recover"} {
		c := &cluster{}
		res, body := do(t, "POST", c.serve(t)+path, bytes.NewReader(make([]byte, maxIgnoredBody+1)))
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %d", path, res.StatusCode)
		}
		refused(t, c, res.StatusCode, body)
	}
	c := &cluster{}
	if res, body := do(t, "POST", c.serve(t)+"/pins/"+cid0, strings.NewReader("ignored")); res.StatusCode != 200 {
		t.Errorf("a small body: got %d %s", res.StatusCode, body)
	}
}

func TestPinOptions_TooMuchForARecord(t *testing.T) {
	now := time.Now()
	for name, q := range map[string]url.Values{
		"name":      {"name": {strings.Repeat("x", 17<<10)}},
		"metadata":  {"meta-a": {strings.Repeat("x", 9<<10)}, "meta-b": {strings.Repeat("x", 9<<10)}},
		"key":       {"meta-" + strings.Repeat("x", 17<<10): {""}},
		"peers":     {"user-allocations": {strings.Repeat(p0+",", 400)}},
		"followers": {"follower-allocations": {strings.Repeat(p0+",", 400)}},
		"origins":   {"origins": {strings.Repeat("/ip4/1.2.3.4/tcp/1/p2p/"+p0+",", 400)}},
	} {
		if _, err := pinOptions(q, now); api.KindOf(err) != api.TooLarge {
			t.Errorf("%s: got %v, want a TooLarge error", name, err)
		}
	}
	// The largest that is let through fits.
	o, err := pinOptions(url.Values{"name": {strings.Repeat("x", 15<<10)}}, now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := api.Encode(api.NewPin(apitest.Cid(t, cid0), o, now))
	if err != nil || len(b) > api.MaxRecordSize {
		t.Fatalf("a record of %d bytes, %v", len(b), err)
	}
}

func FuzzPinOptions(f *testing.F) {
	for _, q := range []string{"", "replication=1", "replication-min=1&replication-max=-1", "name=a&mode=direct&meta-a=b&meta-=", "expire-in=1h", "expire-at=9999-12-31T23:59:59Z",
		"user-allocations=" + p0 + ",,", "origins=/ip4/1.2.3.4/tcp/1/p2p/" + p0, "pin-update=" + cid1, "name=%ff&a=%zz;", "shard-size=18446744073709551615",
		"format=car&layout=trickle&chunker=rabin-16-32-64&hash=sha2-512&cid-version=1&raw-leaves=0&progress=t&size=5"} {
		f.Add(q)
	}
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		clientFault := func(err error) {
			if k := api.KindOf(err); err != nil && k != api.Invalid && k != api.TooLarge && k != api.Unsupported {
				t.Fatalf("%v is a %s, not the caller's fault", err, k)
			}
		}
		_, err = addParams(q, now)
		clientFault(err)
		o, err := pinOptions(q, now)
		clientFault(err)
		if err != nil {
			return
		}
		// What is let in can be kept, and shown.
		pin := api.NewPin(apitest.Cid(t, cid0), o, now)
		record, err := api.Encode(pin)
		if err != nil || len(record) > api.MaxRecordSize {
			t.Fatalf("record of %d bytes: %v", len(record), err)
		}
		var back api.Pin
		if err := api.Decode(record, &back); err != nil {
			t.Fatalf("what was let in cannot be read back: %v", err)
		}
		if back.Name != o.Name || len(back.Metadata) != len(o.Metadata) || len(back.Origins) != len(o.Origins) || len(back.Followers) != len(o.Followers) {
			t.Fatalf("got back %+v, want %+v", back.PinOptions, o)
		}
		if _, err := new(api.Encoder).AppendPin(nil, &pin); err != nil {
			t.Fatalf("what was let in cannot be shown: %v", err)
		}
	})
}

func TestHandler_HugeHeadersAndRawNonsense(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	req, err := http.NewRequest("POST", url+"/pins/"+cid0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		req.Header.Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 100))
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("got %d, %v", res.StatusCode, err)
	}
	refused(t, c, res.StatusCode, string(body))
}
