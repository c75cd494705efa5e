package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/transfer"
)

// A holder dies. Half of its pins have another copy and get a second one elsewhere; the
// others have none, and the peers that were chosen for them can but wait. Then it comes
// back: in the end each pin has as many copies as it should, and no content was lost.
func TestCluster_HolderReturnsInMidRepair(t *testing.T) {
	const pins = 6
	peers := startCluster(t, 3)
	leader, others := leaderOf(t, peers)
	holder := others[0]
	content, wanted := map[api.Cid][]byte{}, map[api.Cid]int{}
	for i := range 2 * pins {
		data, n := randomBytes(600<<10), 1+i%2
		o := copies(n)
		o.UserAllocations = []api.PeerID{holder.id, leader.id}
		c := holder.add(data, o)
		content[c], wanted[c] = data, n
	}
	if n := heldBy(leader, holder); n != 2*pins {
		t.Fatalf("%s holds %d pins, want %d", holder.name, n, 2*pins)
	}

	holder.stop()
	eventually(t, patience, func() error {
		if n := heldBy(leader, holder); n > 0 {
			return fmt.Errorf("%s still is to hold %d pins", holder.name, n)
		}
		for c, n := range wanted {
			if n == 2 {
				if err := settled([]*testPeer{leader, others[1]}, leader, c, 2); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for c, pin := range leader.pinset() {
		if waits := slices.Contains(pin.Leaving, holder.id); waits != (wanted[c] == 1) {
			t.Fatalf("%d copies of %s wanted, of which %s has the only one: %t; it is to keep it: %t", wanted[c], c, holder.name, wanted[c] == 1, waits)
		}
	}
	holder.start()

	eventually(t, patience, func() error {
		for c, n := range wanted {
			if err := settled(peers, leader, c, n); err != nil {
				return err
			}
		}
		return nil
	})
	for c, data := range content {
		readable(t, peers, c, data)
	}
	waitTogether(t, peers)
}

// heldBy counts the pins of which p is to hold a copy for good, as through lists them.
func heldBy(through, p *testPeer) (n int) {
	for _, pin := range through.pinset() {
		if slices.Contains(pin.Allocations, p.id) {
			n++
		}
	}
	return n
}

// settled tells whether c has n holders, nobody leaves, and the nodes of just these
// peers have it pinned.
func settled(peers []*testPeer, through *testPeer, c api.Cid, n int) error {
	pin, err := through.http.Allocation(through.t.Context(), c)
	if err != nil {
		return err
	}
	if len(pin.Allocations) != n || len(pin.Leaving) > 0 {
		return fmt.Errorf("%s has the holders %v and is left by %v, want %d holders", c, pin.Allocations, pin.Leaving, n)
	}
	for _, p := range peers {
		_, pinned, err := p.daemon.node.PinStatus(p.t.Context(), c)
		if err != nil {
			return err
		}
		if want := slices.Contains(pin.Allocations, p.id); pinned != want {
			return fmt.Errorf("%s has %s pinned: %t, want %t; it says %+v", p.name, c, pinned, want, p.daemon.tracker.Status(p.t.Context(), c).PinInfoShort)
		}
	}
	return nil
}

// Collections run on all peers after an add's destinations have everything and before
// the pinset knows of it: what was acknowledged stays whole.
func TestCluster_CollectionBetweenAnAddAndItsEntry(t *testing.T) {
	peers := startCluster(t, 3)
	_, others := leaderOf(t, peers)
	d := others[0].daemon
	collected := 0
	collect := func() {
		for _, p := range peers {
			for key, err := range p.daemon.node.GC(t.Context()) {
				if err != nil || key.Error != "" {
					t.Errorf("collection on %s: %v %s", p.name, err, key.Error)
				}
				collected++
			}
		}
	}
	// The same add as the daemon's, but for what happens before it pins.
	add := adder.New(d.ids.cluster.ID, placer{d.pinner, collect}, sender{d, transfer.NewClient(d.data)}, adder.Options{}, quiet)
	content := randomBytes(3 << 20)
	params := api.DefaultAddParams()
	params.PinOptions = copies(2)
	pin, err := add.Add(t.Context(), oneFile(content), params, func(api.AddedOutput) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if collected > 0 {
		t.Errorf("collection took %d blocks of an add that was on its way", collected)
	}
	collect()
	if collected > 0 {
		t.Errorf("collection took %d blocks of a pin", collected)
	}
	eventually(t, patience, func() error { return settled(peers, others[0], pin.Cid, 2) })
	readable(t, peers, pin.Cid, content)

	// What no pin keeps does go: the collections above were real.
	params.NoPin = true
	if _, err := add.Add(t.Context(), oneFile(randomBytes(1<<20)), params, func(api.AddedOutput) error { return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() error {
		if collect(); collected == 0 {
			return fmt.Errorf("collection leaves what was added without a pin")
		}
		return nil
	})
	readable(t, peers, pin.Cid, content)
}

// placer does something before the root of an add is pinned.
type placer struct {
	adder.Placer
	beforePin func()
}

func (p placer) Pin(ctx context.Context, pin api.Pin) (api.Pin, uint64, error) {
	p.beforePin()
	return p.Placer.Pin(ctx, pin)
}

// A peer that is frozen, and is not known to be dead yet, does not hold up adds.
func TestCluster_AddGoesOnWithoutAFrozenPeer(t *testing.T) {
	t.Parallel() // it mostly waits
	peers := spawnCluster(t, 3, "MONITORPINGINTERVAL=30s", "REPAIRGRACE=1h")
	leader, others := leaderOf(t, peers)
	o := api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3}
	eventually(t, patience, func() error {
		c, err := leader.tryAdd(randomBytes(1000), o)
		if err != nil {
			return err
		}
		pin, err := leader.http.Allocation(t.Context(), c)
		if err == nil && len(pin.Allocations) < 3 {
			err = fmt.Errorf("the add is on %v", pin.Allocations)
		}
		return err
	})
	others[0].freeze()
	content := randomBytes(2 << 20)
	start := time.Now()
	c, err := leader.tryAdd(content, o)
	took := time.Since(start)
	others[0].thaw()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the add took %s", took)
	if took > patience {
		t.Errorf("the add took %s", took)
	}
	readable(t, []*testPeer{leader, others[1]}, c, content)
}
