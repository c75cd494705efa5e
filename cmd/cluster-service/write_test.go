package main

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A write through any peer is there on that peer as soon as it is answered.
func TestCluster_ReadsItsOwnWritesOnEveryPeer(t *testing.T) {
	peers := startCluster(t, 3, "MONITORPINGINTERVAL=5s") // nobody is to be taken for dead
	for round := range 10 {
		each(peers, func(p *testPeer) {
			c := randomCid()
			for _, name := range []string{"first", "second"} {
				o := copies(2)
				o.Name = fmt.Sprint(name, round)
				pin, err := p.http.Pin(t.Context(), c, o)
				if err != nil {
					t.Errorf("pin through %s: %v", p.name, err)
					return
				}
				if len(pin.Allocations) != 2 || pin.Name != o.Name {
					t.Errorf("%s answers %v of %q, want 2 holders of %q", p.name, pin.Allocations, pin.Name, o.Name)
				}
				got, err := p.http.Allocation(t.Context(), c)
				if err != nil || got.Name != o.Name {
					t.Errorf("%s reads %q, %v, want %q", p.name, got.Name, err, o.Name)
				}
			}
			if _, err := p.http.Unpin(t.Context(), c); err != nil {
				t.Errorf("unpin through %s: %v", p.name, err)
			}
			if _, err := p.http.Allocation(t.Context(), c); code(err) != http.StatusNotFound {
				t.Errorf("%s reads what it unpinned: %v", p.name, err)
			}
			if _, err := p.http.Unpin(t.Context(), c); code(err) != http.StatusNotFound {
				t.Errorf("%s unpins twice: %v", p.name, err)
			}
		})
	}
	waitEqual(t, peers)
	if n := len(peers[1].pinset()); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}

// code is the HTTP status of a refusal, 0 for any other error.
func code(err error) int {
	var refused *api.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
}
