package rest

import (
	"errors"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// The server's zone is one that shows where a time is not put in it.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("here", 2*60*60)
	os.Exit(m.Run())
}

func TestHandler_GoldenAnswers(t *testing.T) {
	P0, P1 := apitest.PeerID(t, p0), apitest.PeerID(t, p1)
	c0, c1 := apitest.Cid(t, cid0), apitest.Cid(t, cid1)
	at := time.Unix(1795218285, 0).UTC()
	record := api.Pin{PinOptions: api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3, Name: "n", Mode: api.PinDirect,
		ExpireAt: at.Add(time.Hour), Metadata: map[string]string{}, UserAllocations: []api.PeerID{P1}},
		Cid: c1, Type: api.PinData, Allocations: []api.PeerID{P0, P1}, MaxDepth: -1, Timestamp: at, Revision: 5}
	const recordJSON = `{"replication_factor_min":2,"replication_factor_max":3,"name":"n","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"2026-11-21T02:44:45+02:00","metadata":null,"pin_update":null,"origins":[],"cid":"` + cid1 + `","type":"pin","allocations":["P0","P1"],"max_depth":-1,"reference":null,"timestamp":"2026-11-21T01:44:45+02:00"}` + "\n"
	everywhere := api.Pin{PinOptions: api.PinOptions{ReplicationFactorMin: -1, ReplicationFactorMax: -1}, Cid: c0, Type: api.PinMeta, Timestamp: at}
	const everywhereJSON = `{"replication_factor_min":-1,"replication_factor_max":-1,"name":"","mode":"direct","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":null,"pin_update":null,"origins":[],"cid":"` + cid0 + `","type":"meta-pin","allocations":[],"max_depth":0,"reference":null,"timestamp":"2026-11-21T01:44:45+02:00"}` + "\n"

	info := api.GlobalPinInfo{Cid: c0, Created: at, PeerMap: map[string]api.PinInfoShort{p0: {PeerName: "peer0", Status: api.StatusPinned, Timestamp: at}}}
	const infoJSON = `{"cid":"` + cid0 + `","name":"","allocations":[],"origins":[],"created":"2026-11-21T01:44:45+02:00","metadata":null,"peer_map":{"P0":{"peername":"peer0","status":"pinned","timestamp":"2026-11-20T23:44:45Z","error":"","attempt_count":0,"priority_pin":false}}}` + "\n"

	c := &cluster{
		pin: func(p api.Pin) (api.Pin, uint64, error) {
			p.ReplicationFactorMin, p.ReplicationFactorMax, p.Timestamp, p.UserAllocations = 1, 1, at.Add(123456789), nil
			p.Allocations = []api.PeerID{P1}
			return p, 42, nil
		},
		unpin: func(api.Cid) (api.Pin, uint64, error) { return record, 43, nil },
		get:   func(api.Cid) (api.Pin, error) { return record, nil },
		all:   seq(nil, record, everywhere),
		status: func(id api.Cid) (api.GlobalPinInfo, error) {
			g := info
			g.Cid = id
			return g, nil
		},
		list: func(f api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
			if f == api.StatusError {
				return seq[api.GlobalPinInfo](nil)
			}
			return seq(nil, info, info)
		},
		resolve:    func(path string) (api.Cid, error) { return c1, nil },
		removePeer: func(api.PeerID) error { return nil },
		invite:     func(ttl time.Duration) (string, error) { return "token-for-" + ttl.String(), nil },
		peers:      seq(nil, api.Peer{ID: P0, PeerName: "a"}, api.Peer{ID: P1, Error: "gone"}),
		metrics:    map[string][]api.Metric{"ping": {{Name: "ping", Peer: P1}, {Name: "ping", Peer: P0, Value: "v"}}},
		collected:  api.GlobalRepoGC{PeerMap: map[string]api.RepoGC{p0: {Peer: P0, PeerName: "peer0"}}},
	}
	url := c.serve(t)
	const peer0 = `{"id":"P0","addresses":null,"cluster_peers":null,"cluster_peers_addresses":null,"version":"","commit":"","rpc_protocol_version":"","error":"","ipfs":{"addresses":null,"error":""},"peername":"a"}` + "\n"
	const notGet = `{"code":405,"message":"the method is not allowed here; these are: GET"}` + "\n"
	const pinned = `{"replication_factor_min":1,"replication_factor_max":1,"name":"","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":{},"pin_update":null,"origins":null,"cid":"` + cid0 + `","type":"pin","allocations":["P1"],"max_depth":-1,"reference":null,"timestamp":"2026-11-21T01:44:45.123456789+02:00"}` + "\n"
	for name, tc := range map[string]struct {
		method, path string
		status       int
		body         string
		index        string
		effect       string
	}{
		"id":                {"GET", "/id", 200, strings.NewReplacer(`"id":"P0",`, `"id":"",`, `:"a"`, `:"me"`).Replace(peer0), "", ""},
		"version":           {"GET", "/version", 200, `{"version":"9.9.9"}` + "\n", "", ""},
		"peers":             {"GET", "/peers", 200, peer0 + strings.NewReplacer("P0", "P1", `"error":"","ipfs"`, `"error":"gone","ipfs"`, `:"a"`, `:""`).Replace(peer0), "", ""},
		"remove peer":       {"DELETE", "/peers/" + p1, 204, "", "45", "remove peer"},
		"revoke peer":       {"DELETE", "/peers/" + p1 + "?revoke=true", 204, "", "45", "revoke peer"},
		"invite":            {"POST", "/peers/invite?ttl=90m", 200, `{"token":"token-for-1h30m0s"}` + "\n", "", "invite"},
		"invite, default":   {"POST", "/peers/invite", 200, `{"token":"token-for-0s"}` + "\n", "", "invite"},
		"allocations":       {"GET", "/allocations", 200, recordJSON + everywhereJSON, "7", ""},
		"allocations, type": {"GET", "/allocations?filter=meta-pin,nonsense", 200, everywhereJSON, "7", ""},
		"allocations, all":  {"GET", "/allocations?filter=pin,all", 200, recordJSON + everywhereJSON, "7", ""},
		"allocations, none": {"GET", "/allocations?filter=shard-pin", 204, "", "7", ""},
		"allocation":        {"GET", "/allocations/" + cid1, 200, recordJSON, "", ""},
		"pin":               {"POST", "/pins/" + cid0, 200, pinned, "42", "pin"},
		"pin, every default": {"POST", "/pins/" + cid0 + "?replication-min=0&replication-max=0&name=&mode=recursive&shard-size=0&user-allocations=&origins=&pin-update=&meta-=x&expire-at=1970-01-01T00%3A00%3A00Z",
			200, strings.Replace(pinned, "0001-01-01T00:00:00Z", "1970-01-01T02:00:00+02:00", 1), "42", "pin"},
		"pin with options": {"POST", "/pins/" + cid0 + "?name=a+b&mode=direct&replication-min=1&replication-max=2&shard-size=5&user-allocations=" + p0 + "," + p1 +
			"&meta-k=v&meta-a=1&pin-update=" + cid1 + "&origins=/ip4/1.2.3.4/tcp/1/p2p/" + p0 + "&expire-at=2199-01-01T00:00:00.5Z&expire-in=1h", 200,
			`{"replication_factor_min":1,"replication_factor_max":1,"name":"a b","mode":"direct","shard_size":5,"user_allocations":["P0","P1"],"expire_at":"2199-01-01T02:00:00.5+02:00","metadata":{"a":"1","k":"v"},"pin_update":"` + cid1 + `","origins":["/ip4/1.2.3.4/tcp/1/p2p/P0"],"cid":"` + cid0 + `","type":"pin","allocations":["P1"],"max_depth":0,"reference":null,"timestamp":"2026-11-21T01:44:45.123456789+02:00"}` + "\n", "42", "pin"},
		"pin, plain path":        {"POST", "/pins/ipfs/" + cid0, 200, pinned, "42", "pin"},
		"pin, deep path":         {"POST", "/pins/ipfs/" + cid0 + "/a%20b/c%2Fd", 200, strings.Replace(pinned, cid0, cid1, 1), "42", "pin"},
		"pin, name":              {"POST", "/pins/ipns/docs.ipfs.tech", 200, strings.Replace(pinned, cid0, cid1, 1), "42", "pin"},
		"unpin":                  {"DELETE", "/pins/" + cid1, 200, recordJSON, "43", "unpin"},
		"unpin, path":            {"DELETE", "/pins/ipld/" + cid1, 200, recordJSON, "43", "unpin"},
		"status":                 {"GET", "/pins/" + cid0, 200, infoJSON, "", ""},
		"status, local":          {"GET", "/pins/" + cid0 + "?local=true", 200, strings.Replace(infoJSON, `"name":""`, `"name":"local "`, 1), "", ""},
		"status, almost local":   {"GET", "/pins/" + cid0 + "?local=TRUE", 200, infoJSON, "", ""},
		"statuses":               {"GET", "/pins", 200, infoJSON + infoJSON, "", ""},
		"statuses, none":         {"GET", "/pins?filter=error", 204, "", "", ""},
		"statuses of CIDs":       {"GET", "/pins?filter=nonsense&cids=" + cid0 + "," + cid1, 200, infoJSON + strings.Replace(infoJSON, cid0, cid1, 1), "", ""},
		"recover":                {"POST", "/pins/" + cid0 + "/recover", 200, infoJSON, "", "recover"},
		"recover, local":         {"POST", "/pins/" + cid0 + "/recover?local=true", 200, infoJSON, "", "local recover"},
		"recover all":            {"POST", "/pins/recover", 200, infoJSON + infoJSON, "", "recover all"},
		"recover all, local":     {"POST", "/pins/recover?local=true", 200, infoJSON + infoJSON, "", "local recover all"},
		"health":                 {"GET", "/health", 204, "", "", ""},
		"alerts":                 {"GET", "/health/alerts", 200, "[]\n", "", ""},
		"graph":                  {"GET", "/health/graph", 200, `{"cluster_id":"","id_to_peername":null,"ipfs_links":null,"cluster_links":{"P0":[]},"cluster_trust_links":null,"cluster_to_ipfs":null}` + "\n", "", ""},
		"bandwidth":              {"GET", "/health/bandwidth", 200, `{"/x":{"total_in":1,"total_out":0,"rate_in":0,"rate_out":0.5}}` + "\n", "", ""},
		"metric names":           {"GET", "/monitor/metrics", 200, `["ping"]` + "\n", "", ""},
		"metrics":                {"GET", "/monitor/metrics/ping", 200, `[{"name":"ping","peer":"P0","value":"v","expire":0,"valid":false,"weight":0,"partitionable":false,"received_at":0},{"name":"ping","peer":"P1","value":"","expire":0,"valid":false,"weight":0,"partitionable":false,"received_at":0}]` + "\n", "", ""},
		"metrics, unknown":       {"GET", "/monitor/metrics/tag:nothing%2Fhere", 200, "[]\n", "", ""},
		"repair":                 {"GET", "/repair", 200, `{"running":true,"below":3,"placed":0,"moving":0,"done":0}` + "\n", "", ""},
		"gc":                     {"POST", "/ipfs/gc", 200, `{"peer_map":{"P0":{"peer":"P0","peername":"peer0","keys":[]}}}` + "\n", "", "gc"},
		"gc, local":              {"POST", "/ipfs/gc?local=true", 200, `{"peer_map":{"P0":{"peer":"P0","peername":"peer0","keys":[]}}}` + "\n", "", "local gc"},
		"not found":              {"GET", "/nothing", 404, `{"code":404,"message":"not found"}` + "\n", "", ""},
		"wrong method":           {"PUT", "/id", 405, notGet, "", ""},
		"wrong method, HEAD":     {"HEAD", "/id", 405, "", "", ""},
		"wrong method, health":   {"POST", "/health", 405, notGet, "", ""},
		"wrong method, no known": {"BREW", "/id", 405, notGet, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.calls = nil
			res, body := do(t, tc.method, url+tc.path, nil)
			want := strings.NewReplacer("P0", p0, "P1", p1).Replace(tc.body)
			if res.StatusCode != tc.status || body != want {
				t.Fatalf("got  %d %s\nwant %d %s", res.StatusCode, body, tc.status, want)
			}
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("got Content-Type %q", got)
			}
			if got := res.Header.Get("Allow"); (got != "") != (tc.status == 405) {
				t.Errorf("got Allow %q", got)
			}
			if got := res.Header.Get("X-Pinfold-Index"); got != tc.index {
				t.Errorf("got index %q, want %q", got, tc.index)
			}
			if got := c.effects(); got != tc.effect {
				t.Errorf("got calls %q, want %q", got, tc.effect)
			}
		})
	}
}

func TestHandler_UnknownStatusSaysNothing(t *testing.T) {
	before := time.Now()
	c := &cluster{status: func(id api.Cid) (api.GlobalPinInfo, error) {
		return api.GlobalPinInfo{Cid: id, PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusUnpinned}}}, nil
	}}
	_, body := do(t, "GET", c.serve(t)+"/pins/"+cid0, nil)
	const want = `{"cid":"` + cid0 + `","name":"","allocations":[],"origins":null,"created":"`
	rest, ok := strings.CutPrefix(body, want)
	at, rest, _ := strings.Cut(rest, `"`)
	created, err := time.Parse(time.RFC3339Nano, at)
	if !ok || err != nil || created.Before(before.Add(-time.Second)) || !strings.HasPrefix(rest, `,"metadata":null,"peer_map":{`) {
		t.Fatalf("got %s (%v)", body, err)
	}
}

func TestHandler_PinIsAskedForAsGiven(t *testing.T) {
	var got api.Pin
	c := &cluster{pin: func(p api.Pin) (api.Pin, uint64, error) {
		got = p
		return p, 1, nil
	}}
	url := c.serve(t)
	before := time.Now()
	if res, body := do(t, "POST", url+"/pins/"+cid0+"?replication=3&replication-min=1&expire-in=90s&mode=direct", nil); res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	if got.ReplicationFactorMin != 3 || got.ReplicationFactorMax != 3 || got.Mode != api.PinDirect || got.MaxDepth != 0 || got.Type != api.PinData {
		t.Errorf("got %+v", got)
	}
	if in := got.ExpireAt.Sub(before); in < 90*time.Second || in > 100*time.Second {
		t.Errorf("expires in %v, want 90s", in)
	}
}

func TestHandler_ErrorsHaveTheStatusOfTheirKind(t *testing.T) {
	c := &cluster{all: seq[api.Pin](api.Unavailable.Errorf("disk")), pin: func(api.Pin) (api.Pin, uint64, error) {
		return api.Pin{}, 9, api.Lagging.Errorf("committed at index 9")
	}}
	url := c.serve(t)
	for name, tc := range map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"absent":         {"GET", "/allocations/" + cid0, 404, `{"code":404,"message":"pin is not part of the pinset"}`},
		"unpin, absent":  {"DELETE", "/pins/" + cid0, 404, `{"code":404,"message":"pin is not part of the pinset"}`},
		"path, absent":   {"POST", "/pins/ipfs/" + cid0 + "/x", 404, `{"code":404,"message":"no link named \"/ipfs/` + cid0 + `/x\""}`},
		"failed listing": {"GET", "/allocations", 503, `{"code":503,"message":"disk"}`},
		"lagging":        {"POST", "/pins/" + cid0, 202, `{"code":202,"message":"committed at index 9"}`},
	} {
		res, body := do(t, tc.method, url+tc.path, nil)
		if res.StatusCode != tc.status || body != tc.body+"\n" {
			t.Errorf("%s: got %d %s, want %d %s", name, res.StatusCode, body, tc.status, tc.body)
		}
		if name == "lagging" && res.Header.Get(api.IndexHeader) != "9" {
			t.Error("the answer of a lagging write has no index")
		}
	}
}

func TestHandler_StreamThatBreaksOffHasATrailer(t *testing.T) {
	pin := api.Pin{Cid: apitest.Cid(t, cid0), Type: api.PinData}
	c := &cluster{all: seq(errors.New("bad block"), pin, pin), peers: seq(api.Unavailable.Errorf("late"), api.Peer{})}
	url := c.serve(t)
	for path, want := range map[string]string{"/allocations": "bad block", "/peers": "late"} {
		res, body := do(t, "GET", url+path, nil)
		if res.StatusCode != 200 || !strings.HasSuffix(body, "}\n") || res.Trailer.Get("X-Stream-Error") != want {
			t.Errorf("%s: got %d %s trailer %q, want %q", path, res.StatusCode, body, res.Trailer, want)
		}
	}
}

func TestWritten_KeepsOrigins(t *testing.T) {
	m, err := multiaddr.NewMultiaddr("/ip4/1.2.3.4/tcp/1/p2p/" + p0)
	if err != nil {
		t.Fatal(err)
	}
	if p := written(api.Pin{PinOptions: api.PinOptions{Origins: []api.Multiaddr{m}}}); len(p.Origins) != 1 {
		t.Fatalf("got %v", p.Origins)
	}
}
