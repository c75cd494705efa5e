package allocator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

func ids(s ...string) []api.PeerID {
	var out []api.PeerID
	for _, p := range s {
		out = append(out, api.PeerID(p))
	}
	return out
}

func peer(id string, free int64, tags ...string) Peer {
	p := Peer{ID: api.PeerID(id), Free: free, Tags: map[string]string{}}
	for i := 0; i+1 < len(tags); i += 2 {
		p.Tags[tags[i]] = tags[i+1]
	}
	return p
}

func TestAllocate(t *testing.T) {
	abc := []Peer{peer("a", 1000), peer("b", 600), peer("c", 300)}
	zones := []Peer{peer("a", 1000, "zone", "1"), peer("b", 1000, "zone", "1"), peer("c", 10, "zone", "2"), peer("d", 10)}
	for _, tt := range []struct {
		name string
		r    Request
		want []api.PeerID
		kind api.Kind
	}{
		{"most free", Request{Min: 1, Max: 1, Peers: abc}, ids("a"), ""},
		{"two most free", Request{Min: 1, Max: 2, Peers: abc}, ids("a", "b"), ""},
		{"as many as there are", Request{Min: 1, Max: 9, Peers: abc}, ids("a", "b", "c"), ""},
		{"size must fit", Request{Min: 1, Max: 3, Size: 500, Peers: abc}, ids("a", "b"), ""},
		{"explicit first", Request{Min: 1, Max: 1, Prefer: ids("c"), Peers: abc}, ids("c"), ""},
		{"explicit in order", Request{Min: 1, Max: 2, Prefer: ids("c", "b", "a"), Peers: abc}, ids("b", "c"), ""},
		{"explicit before holder", Request{Min: 1, Max: 1, Prefer: ids("c"), Holders: ids("b"), Peers: abc}, ids("c"), ""},
		{"explicit that is full", Request{Min: 1, Max: 1, Size: 500, Prefer: ids("c"), Peers: abc}, ids("a"), ""},
		{"explicit twice", Request{Min: 1, Max: 2, Prefer: ids("c", "c"), Peers: abc}, ids("a", "c"), ""},
		{"explicit and gone", Request{Min: 1, Max: 1, Prefer: ids("z"), Peers: abc}, ids("a"), ""},
		{"holder stays", Request{Min: 1, Max: 1, Holders: ids("c"), Peers: abc}, ids("c"), ""},
		{"full holder stays", Request{Min: 1, Max: 1, Size: 500, Holders: ids("c"), Peers: abc}, ids("c"), ""},
		{"holder then most free", Request{Min: 1, Max: 2, Holders: ids("c"), Peers: abc}, ids("a", "c"), ""},
		{"holders above max", Request{Min: 1, Max: 2, Holders: ids("a", "b", "c"), Peers: abc}, ids("a", "b"), ""},
		{"holder lost", Request{Min: 1, Max: 1, Holders: ids("z"), Peers: abc}, ids("a"), ""},
		{"holder excluded", Request{Min: 1, Max: 1, Holders: ids("a"), Exclude: ids("a"), Peers: abc}, ids("b"), ""},
		{"explicit excluded", Request{Min: 1, Max: 1, Prefer: ids("a"), Exclude: ids("a"), Peers: abc}, ids("b"), ""},
		{"read-only passed over", Request{Min: 1, Max: 1, Peers: []Peer{{ID: "a", Free: 9, ReadOnly: true}, {ID: "b", Free: 1}}}, ids("b"), ""},
		{"read-only passed over though named", Request{Min: 1, Max: 1, Prefer: ids("a"), Peers: []Peer{{ID: "a", Free: 9, ReadOnly: true}, {ID: "b", Free: 1}}}, ids("b"), ""},
		{"read-only holder stays", Request{Min: 1, Max: 1, Holders: ids("a"), Peers: []Peer{{ID: "a", ReadOnly: true}, {ID: "b", Free: 1}}}, ids("a"), ""},
		{"fewer pins waiting", Request{Min: 1, Max: 1, Peers: []Peer{{ID: "a", Free: 100, Pending: 5000}, {ID: "b", Free: 98}}}, ids("b"), ""},
		{"much more room beats fewer waiting", Request{Min: 1, Max: 1, Peers: []Peer{{ID: "a", Free: 100, Pending: 5000}, {ID: "b", Free: 50}}}, ids("a"), ""},
		{"other zone before more room", Request{Min: 2, Max: 2, Prefer: ids("a"), SpreadBy: []string{"zone"}, Exclude: ids("d"), Peers: zones}, ids("a", "c"), ""},
		{"no tag is a value too", Request{Min: 3, Max: 3, Prefer: ids("a"), SpreadBy: []string{"zone"}, Peers: zones}, ids("a", "c", "d"), ""},
		{"holders above max stay spread", Request{Min: 1, Max: 2, Holders: ids("a", "b", "c"), Exclude: ids("d"), SpreadBy: []string{"zone"}, Prefer: ids("b"), Peers: zones}, ids("b", "c"), ""},

		{"min zero", Request{Min: 0, Max: 1, Peers: abc}, nil, api.Invalid},
		{"min above max", Request{Min: 2, Max: 1, Peers: abc}, nil, api.Invalid},
		{"more copies than peers", Request{Min: 4, Max: 4, Peers: abc}, nil, api.Invalid},
		{"peers down", Request{Min: 4, Max: 4, Members: 5, Peers: abc}, nil, api.Unavailable},
		{"peers excluded", Request{Min: 3, Max: 3, Exclude: ids("a"), Peers: abc}, nil, api.Unavailable},
		{"no room", Request{Min: 3, Max: 3, Size: 500, Peers: abc}, nil, api.Full},
		{"no room at all", Request{Min: 1, Max: 1, Peers: []Peer{{ID: "a"}}}, nil, api.Full},
		{"nobody", Request{Min: 1, Max: 1, Members: 3}, nil, api.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Allocate(tt.r)
			if api.KindOf(err) != tt.kind || !slices.Equal(got, tt.want) {
				t.Fatalf("got %v, %v; want %v, %q", got, err, tt.want, tt.kind)
			}
		})
	}
}

// The beginning is the incumbent's, the rest tells why and what to do.
func TestAllocate_ErrorTellsWhy(t *testing.T) {
	const begin = "not enough peers to allocate CID. Needed at least: 2. Wanted at most: 3. Available candidates: "
	for _, tt := range []struct {
		name string
		r    Request
		want string
	}{
		{"too few members", Request{Peers: []Peer{peer("a", 1)}},
			"1. The cluster has 1: lower the replication factor or add peers."},
		{"some are down", Request{Members: 3, Peers: []Peer{peer("a", 1)}},
			"1. Of the cluster's 3 the others are down, leaving, read-only, not measured yet or full: try again later, or lower the replication factor."},
		{"no room", Request{Size: 1000, Peers: []Peer{peer("a", 2000), peer("b", 700), peer("c", 600)}},
			"1. Of 3 peers asked, 2 have no room for a pin of 1000 bytes; the roomiest of these has 700 bytes free above what it keeps in reserve and has promised. Free space, add a peer, or lower the replication factor or embedded.disk_reserve."},
		{"no room, of no known size", Request{Peers: []Peer{peer("a", -5), peer("b", 0)}},
			"0. Of 2 peers asked, 2 have no room for a pin of a size not known yet; the roomiest of these has 0 bytes free above what it keeps in reserve and has promised. Free space, add a peer, or lower the replication factor or embedded.disk_reserve."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Min, tt.r.Max = 2, 3
			_, err := Allocate(tt.r)
			if err == nil || err.Error() != begin+tt.want {
				t.Fatalf("got %v\nwant %s", err, begin+tt.want)
			}
		})
	}
}

func TestAllocate_EqualPeersShareEvenly(t *testing.T) {
	const pins, peers, copies = 10000, 5, 2
	var r Request
	for i := range peers {
		// A few per cent of difference is no reason to give one of them everything.
		r.Peers = append(r.Peers, peer(fmt.Sprint(i), 1<<40-int64(i)<<30))
	}
	r.Min, r.Max = copies, copies
	given := map[api.PeerID]int{}
	for i := range pins {
		r.Seed = fmt.Sprint("cid", i)
		got, err := Allocate(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got {
			given[p]++
		}
	}
	for p, n := range given {
		if share := pins * copies / peers; n < share*9/10 || n > share*11/10 {
			t.Errorf("peer %s got %d pins, want about %d", p, n, share)
		}
	}
}

// random makes a request of a shape that can and cannot be met.
func random(rng *rand.Rand) Request {
	r := Request{Min: 1 + rng.IntN(4), Size: uint64(rng.IntN(50)), Seed: fmt.Sprint(rng.Uint64()), SpreadBy: []string{"zone", "host"}}
	r.Max = r.Min + rng.IntN(3)
	for i := range rng.IntN(12) {
		p := peer(fmt.Sprint("p", i), int64(rng.IntN(200)), "zone", fmt.Sprint(rng.IntN(4)), "host", fmt.Sprint(rng.IntN(3)))
		p.ReadOnly, p.Pending = rng.IntN(8) == 0, rng.IntN(1000)
		r.Peers = append(r.Peers, p)
	}
	some := func(odds int) (out []api.PeerID) {
		for i := range 13 {
			if rng.IntN(odds) == 0 {
				out = append(out, api.PeerID(fmt.Sprint("p", i)))
			}
		}
		return out
	}
	r.Holders, r.Prefer, r.Exclude = some(5), some(8), some(6)
	return r
}

func TestAllocate_Properties(t *testing.T) {
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := random(rng)
		got, err := Allocate(r)

		shuffled := r
		shuffled.Peers, shuffled.Holders, shuffled.Exclude = slices.Clone(r.Peers), slices.Clone(r.Holders), slices.Clone(r.Exclude)
		rng.Shuffle(len(r.Peers), func(i, j int) {
			shuffled.Peers[i], shuffled.Peers[j] = shuffled.Peers[j], shuffled.Peers[i]
		})
		slices.Reverse(shuffled.Holders)
		slices.Reverse(shuffled.Exclude)
		if again, _ := Allocate(shuffled); !slices.Equal(got, again) {
			t.Fatalf("seed %d: %v in one order, %v in another", seed, got, again)
		}

		able := 0
		byID := map[api.PeerID]Peer{}
		for _, p := range r.Peers {
			byID[p.ID] = p
			if allowed(r, p) {
				able++
			}
		}
		if err != nil {
			if able >= r.Min {
				t.Fatalf("seed %d: %d peers can, yet %v", seed, able, err)
			}
			continue
		}
		if want := min(able, r.Max); len(got) != want || len(got) < r.Min || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("seed %d: %v: want %d different ones, sorted", seed, got, want)
		}
		for _, id := range got {
			if p, ok := byID[id]; !ok || !allowed(r, p) {
				t.Fatalf("seed %d: %s must not be chosen", seed, id)
			}
		}
		kept := 0
		for _, p := range r.Peers {
			if slices.Contains(r.Holders, p.ID) && slices.Contains(got, p.ID) {
				kept++
			}
		}
		if others := len(got) - kept; others > 0 {
			for _, p := range r.Peers {
				if slices.Contains(r.Holders, p.ID) && allowed(r, p) && !slices.Contains(got, p.ID) && !anyPreferred(r, got) {
					t.Fatalf("seed %d: holder %s given up for another", seed, p.ID)
				}
			}
		}
	}
}

func allowed(r Request, p Peer) bool {
	if slices.Contains(r.Exclude, p.ID) {
		return false
	}
	return slices.Contains(r.Holders, p.ID) || !p.ReadOnly && p.Free > 0 && uint64(p.Free) >= r.Size
}

func anyPreferred(r Request, got []api.PeerID) bool {
	return slices.ContainsFunc(got, func(p api.PeerID) bool {
		return slices.Contains(r.Prefer, p) && !slices.Contains(r.Holders, p)
	})
}

// Without holders and named peers no other choice covers more values of the first
// tag, nor more of the second inside each.
func TestAllocate_SpreadIsMaximal(t *testing.T) {
	for seed := range uint64(5000) {
		r := random(rand.New(rand.NewPCG(seed, 2)))
		r.Holders, r.Prefer = nil, nil
		got, err := Allocate(r)
		if err != nil {
			continue
		}
		offered, taken := map[string]map[string]int{}, map[string]map[string]int{}
		for _, p := range r.Peers {
			if !allowed(r, p) {
				continue
			}
			add(offered, p)
			if slices.Contains(got, p.ID) {
				add(taken, p)
			}
		}
		if want := min(len(got), len(offered)); len(taken) != want {
			t.Fatalf("seed %d: %d zones covered, want %d", seed, len(taken), want)
		}
		for zone, hosts := range taken {
			n := 0
			for _, k := range hosts {
				n += k
			}
			if want := min(n, len(offered[zone])); len(hosts) != want {
				t.Fatalf("seed %d: %d hosts covered in zone %s, want %d", seed, len(hosts), zone, want)
			}
		}
	}
}

func add(m map[string]map[string]int, p Peer) {
	if m[p.Tags["zone"]] == nil {
		m[p.Tags["zone"]] = map[string]int{}
	}
	m[p.Tags["zone"]][p.Tags["host"]]++
}

func BenchmarkAllocate(b *testing.B) {
	for _, n := range []int{3, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := Request{Min: 2, Max: 3, Seed: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", SpreadBy: []string{"group"}}
			for i := range n {
				r.Peers = append(r.Peers, peer(fmt.Sprint("12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqa", i), 1<<40, "group", fmt.Sprint(i%3)))
			}
			for b.Loop() {
				if _, err := Allocate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
