package main

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/pinfold-cluster/pinfold/config"
)

// What a volunteer says at the first start bounds the parts that it is about, and goes on
// to do so whatever a newer link asks for.
func TestFollowed_LimitsStandOverTheLink(t *testing.T) {
	flags := followFlags{capacity: "3GiB", bandwidth: "2MiB", pins: 3}
	c, _, err := config.FollowerFromEnv(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := flags.apply(&c); err != nil {
		t.Fatal(err)
	}
	d, err := followedIn(t.TempDir(), "archive")
	if err != nil {
		t.Fatal(err)
	}
	link := newLink(t)
	if err := d.init(t.Context(), encodeLink(t, link), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	link.Hold = config.HoldAll
	text, err := json.Marshal(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.sameCluster(t.Context(), string(text), io.Discard); err != nil {
		t.Fatal(err)
	}
	if c, _, err = config.LoadFollower(string(d.directory), nil); err != nil {
		t.Fatal(err)
	}
	if most := c.Embedded.Node.StorageMax; most != 3<<30 {
		t.Errorf("the node may hold %d bytes", most)
	}
	if rate := c.Embedded.Data.MaxBandwidth; rate != 2<<20 {
		t.Errorf("the data host may carry %d bytes a second", rate)
	}
	if n := c.PinTracker.Stateless.Workers; n != 3 {
		t.Errorf("the tracker may fetch %d pins at once", n)
	}
	if hold, err := toHold(c.Follow, link.Hold); err != nil || hold != config.HoldShare {
		t.Errorf("it holds %q: %v", hold, err)
	}
}

func TestToHold_OwnersChoiceComesFirst(t *testing.T) {
	for _, tt := range []struct {
		own   config.Follow
		asked string
		want  string // "" for an error
	}{
		{config.Follow{}, "", config.HoldAll},
		{config.Follow{}, config.HoldAllocated, config.HoldAllocated},
		{config.Follow{}, config.HoldShare, ""}, // of what size?
		{config.Follow{}, "twice", ""},
		{config.Follow{Capacity: 1}, config.HoldAll, config.HoldShare},
		{config.Follow{Hold: config.HoldAllocated}, config.HoldAll, config.HoldAllocated},
		{config.Follow{Hold: config.HoldAllocated, Capacity: 1}, config.HoldAll, config.HoldAllocated},
		{config.Follow{Hold: config.HoldAll}, config.HoldAllocated, config.HoldAll},
		{config.Follow{Hold: config.HoldAll, Capacity: 1}, "twice", config.HoldAll},
	} {
		if got, err := toHold(tt.own, tt.asked); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v, asked for %q: %q, %v; want %q", tt.own, tt.asked, got, err, tt.want)
		}
	}
}
