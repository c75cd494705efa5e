package rpc

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

var update = flag.Bool("update", false, "write the golden file anew")

var (
	when  = time.Date(2026, 7, 1, 12, 30, 15, 123456789, time.UTC)
	cid1  = api.Cid{Cid: cid.MustParse("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")}
	cid0  = api.Cid{Cid: cid.MustParse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")}
	peer1 = must(peer.Decode("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"))
	peer2 = must(peer.Decode("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"))
	addr1 = multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096")
	addr2 = multiaddr.StringCast("/dns4/a.example/tcp/9096/p2p/" + peer1.String())
	opts1 = api.PinOptions{ReplicationFactorMin: -1, ReplicationFactorMax: -1, Name: "Möhre", Mode: api.PinDirect, ShardSize: 7,
		UserAllocations: []api.PeerID{peer1}, ExpireAt: when, Metadata: map[string]string{"b": "2", "a": "1", "": ""},
		PinUpdate: cid0, Origins: []api.Multiaddr{addr1, addr2}}
	pin1  = api.Pin{PinOptions: opts1, Cid: cid1, Type: api.PinData, Allocations: []api.PeerID{peer1, peer2}, MaxDepth: -1, Reference: cid0, Timestamp: when, Leaving: []api.PeerID{peer2}, Size: 1 << 40}
	info1 = api.PinInfo{Cid: cid1, Name: "Möhre", Peer: peer1, Allocations: []api.PeerID{peer1, peer2}, Origins: []api.Multiaddr{addr1},
		Created: when, Metadata: map[string]string{"a": "1"}, PinInfoShort: api.PinInfoShort{PeerName: "p", IPFS: peer2,
			IPFSAddresses: []api.Multiaddr{addr1, addr2}, Status: api.StatusPinning, Timestamp: when, Error: "e", AttemptCount: 3,
			PriorityPin: true, Cause: api.CauseStalled, NextTry: when, Bytes: 5, Rate: 6}}
	follower1 = api.Follower{FollowerStatus: api.FollowerStatus{ID: peer1, Name: "f", Version: "1", Index: 7, Digest: "00ff", Latest: 8, Heard: when,
		Stopped: "s", Neighbours: 9, Hold: "share", Capacity: 10, Known: 11, Wanted: 12, Pinned: 13, Failed: 14, Bytes: 15, Free: 16, Rate: 17,
		Claim: []byte{1}, Trouble: api.CauseStalled}, Addresses: []api.Multiaddr{addr1}, Connected: true, Agrees: new(bool), Proven: 18, Lied: 19,
		Unanswered: 20, Admitted: true, Asked: when, Error: "e"}
)

// sample is one message of a call: one that has everything, and an empty one.
type sample struct {
	name       string
	full, none any
}

func samples() []sample {
	return []sample{
		{"identify request", &struct{}{}, &struct{}{}},
		{"identify answer", &api.Peer{ID: peer1, Addresses: []api.Multiaddr{addr1, addr2}, ClusterPeers: []api.PeerID{peer1, peer2},
			ClusterPeersAddresses: []api.Multiaddr{addr2}, Version: "1", Commit: "c", RPCProtocolVersion: api.RPCProtocol, Error: "e",
			IPFS: api.IPFSID{ID: peer2, Addresses: []api.Multiaddr{addr1}, Error: "e"}, PeerName: "p", Role: "leader", Index: 9,
			Digest: "00ff", Gateway: "http://192.0.2.1:8080"}, &api.Peer{}},
		{"join request", &api.JoinRequest{Credential: []byte{1, 2}, DataID: peer2, Name: "p", Addresses: []api.Multiaddr{addr1}, ID: peer1},
			&api.JoinRequest{DataID: peer2}},
		{"join answer", &api.JoinAnswer{ClusterKey: []byte{1}, Incarnation: 1<<64 - 1, Certificate: []byte{2}, Index: 3,
			Members: []api.Member{{ID: peer1, DataID: peer2, Name: "p", Addresses: []api.Multiaddr{addr1}, Certificate: []byte{4}}}},
			&api.JoinAnswer{}},
		{"standing answer", &api.Standing{Removed: true, Index: 7}, &api.Standing{}},
		{"remove request", &peer1, &peer2},
		{"remove answer", &index{7}, &index{}},
		{"revoke request", &tokenID{"JBSWY3DP"}, &tokenID{}},
		{"links answer", &api.PeerLinks{Cluster: []api.PeerID{peer1, peer2}, IPFS: peer2, Swarm: []api.PeerID{peer1}}, &api.PeerLinks{}},
		{"gc answer", &api.RepoGC{Peer: peer1, PeerName: "p", Error: "e", Keys: []api.RepoGCKey{{Key: cid1}, {Key: cid0, Error: "e"}}},
			&api.RepoGC{Peer: peer1, Keys: []api.RepoGCKey{{Error: "e"}}}},
		{"stat answer", &api.RepoStat{RepoSize: 1, StorageMax: 1<<64 - 1, Free: 2}, &api.RepoStat{}},
		{"commit request", &api.Batch{Session: 1<<64 - 1, Acked: 2, Requests: []api.Request{
			{Type: api.RequestPin, Pin: pin1, Seq: 3}, {Type: api.RequestUnpin, Pin: api.Pin{Cid: cid0}, Seq: 4}}}, &api.Batch{}},
		{"commit answer", &api.Committed{Results: []api.Result{{Pin: pin1, Index: 5},
			{Pin: api.Pin{Cid: cid0}, Fault: &api.Fault{Kind: api.NotFound, Message: "m"}}}},
			&api.Committed{Results: []api.Result{{Fault: &api.Fault{Kind: api.Invalid}}}}},
		{"status request", &cid1, &cid0},
		{"status answer", &info1, &api.PinInfo{}},
		{"statuses request", &api.StatusQuery{After: cid1, Limit: 300, Filter: api.StatusError}, &api.StatusQuery{}},
		{"statuses answer", &api.StatusPage{Items: []api.PinInfo{info1, {}}, Last: cid1, More: true}, &api.StatusPage{}},
		{"news request", &api.NewsQuery{Epoch: 1<<64 - 1, After: 7}, &api.NewsQuery{}},
		{"news answer", &api.NewsPage{Epoch: 1<<64 - 1, Last: 9, Lost: true, Items: []api.PinInfo{info1, {}}}, &api.NewsPage{}},
		{"repair answer", &api.RepairStatus{Running: true, Paused: "p", Below: 1, Cause: "c", Placed: 2, Moving: 3, Done: 1<<64 - 1, LastError: "e", Covered: 4},
			&api.RepairStatus{}},
		{"holds request", &[]api.Cid{cid1, cid0, {}}, &[]api.Cid{}},
		{"holds answer", &[]bool{true, false}, &[]bool{}},
		{"followers request", &api.FollowerQuery{After: peer1, Limit: 256, Only: peer2}, &api.FollowerQuery{}},
		{"followers answer", &[]api.Follower{follower1, {FollowerStatus: api.FollowerStatus{ID: peer2}}}, &[]api.Follower{}},
		{"copies answer", &[]api.PinInfo{info1, {}}, &[]api.PinInfo{}},
		{"proven request", &[]api.CopyQuery{{Cid: cid1, Need: 2}, {}}, &[]api.CopyQuery{}},
		{"proven answer", &[][]api.PeerID{{peer1, peer2}, nil}, &[][]api.PeerID{}},
		{"questions request", &[]api.Cid{cid1, cid0}, &[]api.Cid{}},
		{"questions answer", &[]api.Question{{Nonce: []byte{1}, Cids: []api.Cid{cid1, cid0}, Hashes: [][]byte{{2}, {3}}}, {}}, &[]api.Question{}},
		{"claims request", &api.ClaimNews{Claims: []api.FollowerClaim{{Peer: peer1, Claim: []byte{1, 2}, At: when, Standing: 1}, {Peer: peer2, At: when, Standing: -2}}}, &api.ClaimNews{}},
		{"claims answer", &api.ClaimsHeard{Life: 1<<64 - 1}, &api.ClaimsHeard{}},
	}
}

// The bytes of messages are a contract between versions.
func TestMessages_Golden(t *testing.T) {
	const file = "testdata/messages.golden"
	var got bytes.Buffer
	for _, s := range samples() {
		for what, v := range []any{s.full, s.none} {
			b, err := codec{}.Marshal(v)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			fmt.Fprintf(&got, "%s %s %s\n", strings.ReplaceAll(s.name, " ", "-"), []string{"full", "none"}[what], hex.EncodeToString(b))
		}
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")
	if len(wantLines) != len(gotLines) {
		t.Fatalf("%d messages, want %d", len(gotLines), len(wantLines))
	}
	for i := range gotLines {
		if gotLines[i] != wantLines[i] {
			t.Errorf("message %d:\n got %s\nwant %s", i, gotLines[i], wantLines[i])
		}
	}
}

func TestMessages_RoundTrip(t *testing.T) {
	for _, s := range samples() {
		for _, want := range []any{s.full, s.none} {
			b, err := codec{}.Marshal(want)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
			if err := (codec{}).Unmarshal(b, got); err != nil {
				t.Errorf("%s: %v", s.name, err)
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %+v\nwant %+v", s.name, got, want)
			}
		}
	}
}

// Every type of the table is among the samples.
func TestMessages_AreAllThere(t *testing.T) {
	have := map[reflect.Type]bool{}
	for _, s := range samples() {
		have[reflect.TypeOf(s.full).Elem()] = true
	}
	for _, typ := range []reflect.Type{
		types(identify), types(join), types(removePeer), types(revokePeer), types(revoke), types(links), types(repoGC), types(repoStat), types(commit), types(readIndex),
		types(status), types(statuses), types(recoverPin), types(recoverAll), types(repair), types(holds),
		types(followers), types(copies), types(proven), types(questions), types(claims),
	} {
		for i := range typ.NumIn() {
			if !have[typ.In(i)] {
				t.Errorf("no sample of %s", typ.In(i))
			}
		}
	}
}

// types is a function type that takes what the call's messages are.
func types[Req, Res any](proc[Req, Res]) reflect.Type { return reflect.TypeFor[func(Req, Res)]() }

func FuzzDecode(f *testing.F) {
	all := samples()
	for i, s := range all {
		b, err := codec{}.Marshal(s.full)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		typ := reflect.TypeOf(all[int(which)%len(all)].full).Elem()
		first := reflect.New(typ).Interface()
		if err := (codec{}).Unmarshal(b, first); err != nil {
			return
		}
		encoded, err := codec{}.Marshal(first)
		if err != nil {
			return // a date that text cannot hold, say
		}
		second := reflect.New(typ).Interface()
		if err := (codec{}).Unmarshal(encoded, second); err != nil {
			return // an absent peer ID, which has no form that is read
		}
		again, err := codec{}.Marshal(second)
		if err != nil || !bytes.Equal(encoded, again) {
			t.Fatalf("%x became %x: %v", encoded, again, err)
		}
	})
}
