package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
)

// The peers and CIDs of the recorded answers.
const (
	p0   = "12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqaXSG"
	p1   = "12D3KooWMPrfBEZDMyNn1dVxBcMck2cmJgL3iqLS772Tm9sDaSDB"
	i0   = "12D3KooWBcLVVyjpARRaxSxy5SN2rsoz4ZsXr5iie26ZuCHHL6aw"
	cid0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"
	cid1 = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
)

func peerID(t testing.TB, s string) PeerID {
	t.Helper()
	id, err := ParsePeerID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustCid(t testing.TB, s string) Cid {
	t.Helper()
	c, err := ParseCid(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addrs(t testing.TB, texts ...string) []Multiaddr {
	t.Helper()
	list := []Multiaddr{}
	for _, s := range texts {
		m, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func clock(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// fill puts the long names where the texts say P0, P1 and I0.
func fill(s string) string {
	return strings.NewReplacer("P0", p0, "P1", p1, "I0", i0).Replace(s)
}

func TestObjects_GoldenJSON(t *testing.T) {
	P0, P1, I0 := peerID(t, p0), peerID(t, p1), peerID(t, i0)
	freespace := Metric{Name: "freespace", Peer: P0, Value: "9999934936", Expire: 1795218285086244431, Valid: true,
		Weight: 9999934936, ReceivedAt: 1795218255087043046}
	for name, tc := range map[string]struct {
		value any
		want  string
	}{
		"ID": {
			Peer{ID: P0, Addresses: addrs(t, "/ip4/127.0.0.1/tcp/25400/p2p/"+p0), ClusterPeers: []PeerID{P0, P1},
				ClusterPeersAddresses: addrs(t, "/ip4/127.0.0.1/tcp/25401/p2p/"+p1), Version: "1.1.6",
				RPCProtocolVersion: "/ipfscluster/1.0/rpc", PeerName: "peer0",
				IPFS: IPFSID{ID: I0, Addresses: addrs(t, "/ip4/127.0.0.1/tcp/25300/p2p/"+i0)}},
			`{"id":"P0","addresses":["/ip4/127.0.0.1/tcp/25400/p2p/P0"],"cluster_peers":["P0","P1"],"cluster_peers_addresses":["/ip4/127.0.0.1/tcp/25401/p2p/P1"],"version":"1.1.6","commit":"","rpc_protocol_version":"/ipfscluster/1.0/rpc","error":"","ipfs":{"id":"I0","addresses":["/ip4/127.0.0.1/tcp/25300/p2p/I0"],"error":""},"peername":"peer0"}`,
		},
		"ID of a peer that did not answer": {
			Peer{ID: P1, Error: "failed to dial: x"},
			`{"id":"P1","addresses":null,"cluster_peers":null,"cluster_peers_addresses":null,"version":"","commit":"","rpc_protocol_version":"","error":"failed to dial: x","ipfs":{"addresses":null,"error":""},"peername":""}`,
		},
		"Version": {Version{Version: "1.1.6"}, `{"version":"1.1.6"}`},
		"Pin as written": {
			Pin{PinOptions: PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, Name: "remote", UserAllocations: []PeerID{P1},
				ExpireAt: clock(t, "2026-11-21T00:44:26.738669149Z"), Metadata: map[string]string{"a": "b"},
				Origins: addrs(t, "/ip4/1.2.3.4/tcp/4001/p2p/"+p0)},
				Cid: mustCid(t, cid0), Type: PinData, Allocations: []PeerID{P1}, MaxDepth: -1,
				Timestamp: clock(t, "2026-11-20T23:44:26.738763214Z")},
			`{"replication_factor_min":1,"replication_factor_max":1,"name":"remote","mode":"recursive","shard_size":0,"user_allocations":["P1"],"expire_at":"2026-11-21T00:44:26.738669149Z","metadata":{"a":"b"},"pin_update":null,"origins":["/ip4/1.2.3.4/tcp/4001/p2p/P0"],"cid":"` + cid0 + `","type":"pin","allocations":["P1"],"max_depth":-1,"reference":null,"timestamp":"2026-11-20T23:44:26.738763214Z"}`,
		},
		"Pin as stored": {
			Pin{PinOptions: PinOptions{ReplicationFactorMin: -1, ReplicationFactorMax: -1, Mode: PinDirect, PinUpdate: mustCid(t, cid1), Origins: []Multiaddr{}},
				Cid: mustCid(t, cid1), Type: PinClusterDAG, Allocations: []PeerID{}, Reference: mustCid(t, cid0), Timestamp: clock(t, "2026-11-20T23:44:26+01:00")},
			`{"replication_factor_min":-1,"replication_factor_max":-1,"name":"","mode":"direct","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":null,"pin_update":"` + cid1 + `","origins":[],"cid":"` + cid1 + `","type":"clusterdag-pin","allocations":[],"max_depth":0,"reference":"` + cid0 + `","timestamp":"2026-11-20T23:44:26+01:00"}`,
		},
		"GlobalPinInfo": {
			GlobalPinInfo{Cid: mustCid(t, cid0), Name: "foo", Allocations: []PeerID{}, Origins: []Multiaddr{}, Created: clock(t, "2026-11-20T23:43:29Z"),
				Metadata: map[string]string{"k": "v"}, PeerMap: map[string]PinInfoShort{p0: {PeerName: "peer0", IPFS: I0, Status: StatusPinned, Timestamp: clock(t, "2026-11-20T23:43:29Z")}}},
			`{"cid":"` + cid0 + `","name":"foo","allocations":[],"origins":[],"created":"2026-11-20T23:43:29Z","metadata":{"k":"v"},"peer_map":{"P0":{"peername":"peer0","ipfs_peer_id":"I0","status":"pinned","timestamp":"2026-11-20T23:43:29Z","error":"","attempt_count":0,"priority_pin":false}}}`,
		},
		"GlobalPinInfo of an unknown CID": {
			GlobalPinInfo{Cid: mustCid(t, cid0), Allocations: []PeerID{}, Created: clock(t, "2026-11-20T23:43:29.5Z"),
				PeerMap: map[string]PinInfoShort{p0: {PeerName: "peer0", IPFSAddresses: addrs(t, "/dns4/a.example/tcp/4001"), Status: StatusUnpinned, Timestamp: clock(t, "2026-11-20T23:43:29.5Z"), Error: "<e>", AttemptCount: 2, PriorityPin: true}}},
			`{"cid":"` + cid0 + `","name":"","allocations":[],"origins":null,"created":"2026-11-20T23:43:29.5Z","metadata":null,"peer_map":{"P0":{"peername":"peer0","ipfs_peer_addresses":["/dns4/a.example/tcp/4001"],"status":"unpinned","timestamp":"2026-11-20T23:43:29.5Z","error":"\u003ce\u003e","attempt_count":2,"priority_pin":true}}}`,
		},
		"AddedOutput, progress":                 {AddedOutput{Name: "one.txt", Bytes: 4}, `{"name":"one.txt","cid":null,"bytes":4}`},
		"AddedOutput, an empty file's progress": {AddedOutput{}, `{"name":"","cid":null}`},
		"AddedOutput, final": {
			AddedOutput{Name: "d/one.txt", Cid: mustCid(t, cid1), Size: 4, Allocations: []PeerID{P0, P1}},
			`{"name":"d/one.txt","cid":"` + cid1 + `","size":4,"allocations":["P0","P1"]}`,
		},
		"Metric": {
			[]Metric{freespace},
			`[{"name":"freespace","peer":"P0","value":"9999934936","expire":1795218285086244431,"valid":true,"weight":9999934936,"partitionable":false,"received_at":1795218255087043046}]`,
		},
		"Alert": {
			Alert{Metric: freespace, TriggeredAt: clock(t, "2026-11-20T23:43:29.123456789Z")},
			`{"name":"freespace","peer":"P0","value":"9999934936","expire":1795218285086244431,"valid":true,"weight":9999934936,"partitionable":false,"received_at":1795218255087043046,"triggered_at":"2026-11-20T23:43:29.123456789Z"}`,
		},
		"GlobalRepoGC": {
			GlobalRepoGC{PeerMap: map[string]RepoGC{
				p0: {Peer: P0, PeerName: "peer0", Keys: []RepoGCKey{{Key: mustCid(t, cid1)}, {Error: "x"}}},
				p1: {Peer: P1, PeerName: "peer1", Keys: []RepoGCKey{}, Error: "y"}}},
			`{"peer_map":{"P0":{"peer":"P0","peername":"peer0","keys":[{"key":"` + cid1 + `"},{"key":null,"error":"x"}]},"P1":{"peer":"P1","peername":"peer1","keys":[],"error":"y"}}}`,
		},
		"Error":      {Error{Code: 404, Message: "pin is not part of the pinset"}, `{"code":404,"message":"pin is not part of the pinset"}`},
		"BulkResult": {BulkResult{Line: 3, Cid: mustCid(t, cid1), Index: 7}, `{"line":3,"cid":"` + cid1 + `","index":7}`},
		"bulk error": {BulkResult{Line: 4, Error: &Error{Code: 400, Message: "m"}}, `{"line":4,"cid":null,"error":{"code":400,"message":"m"}}`},
		"Invitation": {Invitation{Token: "t"}, `{"token":"t"}`},
		"bulk unpin": {BulkOp{Op: BulkUnpin, Cid: mustCid(t, cid1)}, `{"op":"unpin","cid":"` + cid1 + `","replication_factor_min":0,"replication_factor_max":0,"name":"","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":null,"pin_update":null,"origins":null}`},
		"all statuses": {
			[]TrackerStatus{StatusUndefined, StatusClusterError, StatusPinError, StatusUnpinError, StatusError, StatusPinned, StatusPinning, StatusPinQueued,
				StatusUnpinned, StatusUnpinning, StatusUnpinQueued, StatusQueued, StatusRemote, StatusSharded, StatusUnexpectedlyUnpinned},
			`["undefined","cluster_error","pin_error","unpin_error","error","pinned","pinning","pin_queued","unpinned","unpinning","unpin_queued","queued","remote","sharded","unexpectedly_unpinned"]`,
		},
		"all pin types": {
			[]PinType{PinData, PinMeta, PinClusterDAG, PinShard, 0}[:4:4], `["pin","meta-pin","clusterdag-pin","shard-pin"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			want := fill(tc.want)
			if string(got) != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			// And back: what a client reads is what was sent.
			back := reflect.New(reflect.TypeOf(tc.value))
			if err := json.Unmarshal(got, back.Interface()); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(back.Elem().Interface())
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != want {
				t.Fatalf("read back %s\nwant      %s", again, want)
			}
			if pin, ok := tc.value.(Pin); ok {
				fast, err := new(Encoder).AppendPin(nil, &pin)
				if err != nil || string(fast) != want {
					t.Fatalf("Encoder: %v\ngot  %s\nwant %s", err, fast, want)
				}
			}
			if info, ok := tc.value.(GlobalPinInfo); ok {
				fast, err := new(Encoder).AppendInfo(nil, &info)
				if err != nil || string(fast) != want {
					t.Fatalf("Encoder: %v\ngot  %s\nwant %s", err, fast, want)
				}
			}
		})
	}
}

func TestCid_JSONRefusesOtherForms(t *testing.T) {
	for _, s := range []string{`{"/":"` + cid0 + `"}`, `5`, `"nonsense"`, `["` + cid0 + `"]`} {
		var c Cid
		if err := json.Unmarshal([]byte(s), &c); KindOf(err) != Invalid {
			t.Errorf("%s: got %v, want an Invalid error", s, err)
		}
	}
}

// randomPin makes a pin that has anything a record may have.
func randomPin(t testing.TB, r *rand.Rand, text string) Pin {
	peers := []PeerID{peerID(t, p0), peerID(t, p1), peerID(t, i0)}
	some := func() []PeerID {
		if n := r.IntN(5); n > 0 {
			return peers[:n-1]
		}
		return nil
	}
	cids := []Cid{CidUndef, mustCid(t, cid0), mustCid(t, cid1)}
	times := []time.Time{{}, time.Unix(0, 0), time.Unix(1795218285, 86244431), time.Unix(1795218285, 0).In(time.FixedZone("z", -5400)),
		clock(t, "9999-12-31T23:59:59Z")}
	p := Pin{
		PinOptions: PinOptions{ReplicationFactorMin: r.IntN(5) - 1, ReplicationFactorMax: r.IntN(1000) - 1, Name: text, Mode: PinMode(r.IntN(3)),
			ShardSize: r.Uint64(), UserAllocations: some(), ExpireAt: times[r.IntN(len(times))], PinUpdate: cids[r.IntN(3)]},
		Cid: cids[r.IntN(3)], Type: PinType(r.IntN(6)), Allocations: some(), MaxDepth: r.IntN(4) - 1, Reference: cids[r.IntN(3)],
		Timestamp: times[r.IntN(len(times))], Leaving: some(), Size: uint64(r.IntN(2)) * r.Uint64(),
	}
	switch r.IntN(4) {
	case 0:
		p.Metadata = map[string]string{}
	case 1:
		p.Metadata = map[string]string{text: "v", "b": text, "a": ""}
	}
	switch r.IntN(4) {
	case 0:
		p.Origins = []Multiaddr{}
	case 1:
		p.Origins = addrs(t, "/ip4/1.2.3.4/tcp/4001/p2p/"+p0, "/dns4/a.example/tcp/1/p2p/"+p1)
	}
	if r.IntN(3) == 0 {
		p.Followers = []PeerID{peerID(t, p1), peerID(t, i0)}
	}
	return p
}

func FuzzEncoder_SameAsEncodingJSON(f *testing.F) {
	for i, text := range []string{"", "plain", `a"b\c`, "<&>", "\x00\x1f\x7f", "é \u2028 \U0001f600", "\xff\xfe", strings.Repeat("x", 300)} {
		f.Add(uint64(i), text)
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		r := rand.New(rand.NewPCG(seed, 1))
		enc := new(Encoder) // one for several: what it remembers must not show
		same := func(v any, got []byte, err error) {
			t.Helper()
			want, wantErr := json.Marshal(v)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got error %v, want %v", err, wantErr)
			}
			if !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Fatalf("got  %s\nwant before%s", got, want)
			}
		}
		for range 4 {
			p := randomPin(t, r, text)
			got, err := enc.AppendPin([]byte("before"), &p)
			same(p, got, err)
			g := randomInfo(t, r, text)
			got, err = enc.AppendInfo([]byte("before"), &g)
			same(g, got, err)
		}
	})
}

func randomInfo(t testing.TB, r *rand.Rand, text string) GlobalPinInfo {
	p := randomPin(t, r, text)
	g := GlobalPinInfo{Cid: p.Cid, Name: p.Name, Allocations: p.Allocations, Origins: p.Origins, Created: p.Timestamp, Metadata: p.Metadata}
	if r.IntN(4) == 0 {
		return g
	}
	g.PeerMap = map[string]PinInfoShort{}
	for _, id := range []string{p0, p1, text}[:r.IntN(4)] {
		q := randomPin(t, r, text)
		g.PeerMap[id] = PinInfoShort{PeerName: q.Name, IPFSAddresses: q.Origins, Status: TrackerStatus(r.IntN(1 << 13)), Timestamp: q.Timestamp,
			Error: text, AttemptCount: r.IntN(3), PriorityPin: r.IntN(2) == 0, Cause: Cause(text), NextTry: q.ExpireAt, Bytes: q.Size, Rate: p.Size}
		if len(q.Allocations) > 0 {
			s := g.PeerMap[id]
			s.IPFS = q.Allocations[0]
			g.PeerMap[id] = s
		}
	}
	if r.IntN(2) == 0 {
		g.Followers = maps.Clone(g.PeerMap)
	}
	return g
}

func TestEncoder_FailsAsEncodingJSON(t *testing.T) {
	p := Pin{PinOptions: PinOptions{ExpireAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}
	if got, err := new(Encoder).AppendPin([]byte("x"), &p); err == nil || string(got) != "x" {
		t.Fatalf("got %q, %v; want an error and nothing appended", got, err)
	}
}

func BenchmarkInfo(b *testing.B) {
	g := GlobalPinInfo{Cid: mustCid(b, cid1), Name: "a file", Allocations: []PeerID{peerID(b, p0)}, Created: time.Unix(1795218285, 0), PeerMap: map[string]PinInfoShort{}}
	for _, p := range []string{p0, p1, i0} {
		g.PeerMap[p] = PinInfoShort{PeerName: "peer", IPFS: peerID(b, i0), Status: StatusPinned, Timestamp: time.Unix(1795218285, 0)}
	}
	b.Run("Encoder", func(b *testing.B) {
		enc, buf := new(Encoder), []byte(nil)
		for b.Loop() {
			buf, _ = enc.AppendInfo(buf[:0], &g)
		}
	})
	b.Run("Marshal", func(b *testing.B) {
		for b.Loop() {
			if _, err := json.Marshal(g); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPin(b *testing.B) {
	for name, c := range map[string]string{"v0": cid0, "v1": cid1} {
		p := Pin{PinOptions: PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3, Name: "a file", Origins: []Multiaddr{}},
			Cid: mustCid(b, c), Type: PinData, Allocations: []PeerID{peerID(b, p0), peerID(b, p1)}, MaxDepth: -1, Timestamp: time.Unix(1795218285, 0)}
		b.Run(fmt.Sprintf("Encoder/%s", name), func(b *testing.B) {
			enc, buf := new(Encoder), []byte(nil)
			for b.Loop() {
				buf, _ = enc.AppendPin(buf[:0], &p)
			}
		})
		b.Run(fmt.Sprintf("Marshal/%s", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := json.Marshal(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestEncoder_RequestsAsEncodingJSON(t *testing.T) {
	p := Pin{Cid: mustCid(t, cid1), Type: PinData, Requests: []PinRequest{{Name: "<plain>"},
		{ID: "00ff", Created: 1795218255087, Metadata: map[string]string{"a": "b"}, Origins: addrs(t, "/ip4/1.2.3.4/tcp/4001/p2p/"+p0)}}}
	want, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := new(Encoder).AppendPin(nil, &p)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %s, %v; want %s", got, err, want)
	}
	var back Pin
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back.Requests, p.Requests) {
		t.Fatalf("read back %+v, %v", back.Requests, err)
	}
}
