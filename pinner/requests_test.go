package pinner

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// request asks through a peer for another request for the CID n, in place of the one drop.
func (c *cluster) request(peer, n int, id string, drop *string) api.Result {
	p := ask(n, api.PinOptions{})
	p.Requests = []api.PinRequest{{ID: id, Name: "name of " + id}}
	return c.pinners[c.ids[peer]].PinMany(c.t.Context(), []api.Request{{Type: api.RequestPin, Pin: p, Drop: drop}})[0]
}

func (c *cluster) drop(peer, n int, id string) error {
	r := api.Request{Type: api.RequestUnpin, Pin: api.Pin{Cid: testCid(n)}, Drop: &id}
	return c.pinners[c.ids[peer]].PinMany(c.t.Context(), []api.Request{r})[0].Fault.Err()
}

func ids(p api.Pin) (list []string) {
	for _, r := range p.AllRequests() {
		list = append(list, r.ID)
	}
	return list
}

func TestRequests_NoneIsLostThroughSeveralPeers(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	const each = 10
	var all sync.WaitGroup
	for peer := range 3 {
		for i := range each {
			all.Go(func() {
				if f := c.request(peer, 1, fmt.Sprintf("%d-%d", peer, i), nil).Fault; f != nil {
					t.Errorf("request: %v", f)
				}
			})
		}
	}
	all.Wait()
	p := c.get(testCid(1))
	seen := map[int64]bool{}
	for _, r := range p.Requests {
		seen[r.Created] = true
	}
	if len(p.Requests) != 3*each || len(seen) != 3*each {
		t.Fatalf("%d requests of %d times, want %d", len(p.Requests), len(seen), 3*each)
	}
	for i, r := range p.Requests {
		all.Go(func() {
			if err := c.drop(i%3, 1, r.ID); err != nil {
				t.Errorf("drop: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := c.st.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) {
		t.Fatalf("after the last request went: %v", err)
	}
}

func TestRequests_BesideAnotherDoorsPin(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	o := copies(2, 2)
	o.Name, o.ExpireAt = "plain", time.Now().Add(time.Hour)
	plain := c.pin(0, ask(1, o))
	if f := c.request(1, 1, "a", nil).Fault; f != nil {
		t.Fatal(f)
	}
	p := c.get(testCid(1))
	if fmt.Sprint(ids(p)) != "[ a]" || p.Name != "plain" || p.Expires() || p.ReplicationFactorMin != 2 || !p.Timestamp.Equal(plain.Timestamp) {
		t.Fatalf("with a request: %+v", p)
	}
	// The other door pins anew: the request stays.
	o.Name = "again"
	c.pin(2, ask(1, o))
	if p = c.get(testCid(1)); fmt.Sprint(ids(p)) != "[ a]" || p.Name != "again" || p.Expires() {
		t.Fatalf("pinned anew: %+v", p)
	}
	if err := c.drop(0, 1, ""); err != nil {
		t.Fatal(err)
	}
	if p = c.get(testCid(1)); fmt.Sprint(ids(p)) != "[a]" || p.Name != "name of a" {
		t.Fatalf("without the other door's: %+v", p)
	}
	gone := "a"
	if f := c.request(1, 1, "b", &gone).Fault; f != nil {
		t.Fatal(f)
	}
	if p = c.get(testCid(1)); fmt.Sprint(ids(p)) != "[b]" {
		t.Fatalf("replaced: %+v", p)
	}
	if f := c.request(1, 1, "c", &gone).Fault; f == nil || f.Kind != api.NotFound {
		t.Fatalf("replacing what is gone: %v", f)
	}
	if err := c.drop(0, 1, "zz"); !errors.Is(err, api.NotFound) {
		t.Fatalf("dropping an unknown one: %v", err)
	}
	if _, _, err := c.pinners[c.ids[0]].Unpin(t.Context(), testCid(1)); err != nil {
		t.Fatalf("unpin of all: %v", err)
	}
}

// A pin with an end does not go before the last request of a client, and does after it.
func TestRequests_PinEndsWithTheLastOfThem(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	pins := map[string]func(n int){
		"the pin": func(n int) {
			o := copies(2, 2)
			o.Name, o.ExpireAt = "plain", end
			c.pin(0, ask(n, o))
		},
		"the request": func(n int) {
			if f := c.request(1, n, "a", nil).Fault; f != nil {
				t.Fatal(f)
			}
		},
	}
	for i, order := range [][]string{{"the pin", "the request"}, {"the request", "the pin"}} {
		for _, what := range order {
			pins[what](i)
		}
		if p := c.get(testCid(i)); p.Expires() || fmt.Sprint(ids(p)) != "[ a]" {
			t.Errorf("%v: %+v", order, p)
		}
		if err := c.drop(2, i, "a"); err != nil {
			t.Fatal(err)
		}
		if p := c.get(testCid(i)); !p.ExpireAt.Equal(end) || p.Name != "plain" || p.Requests != nil {
			t.Errorf("%v, without the request: %+v", order, p)
		}
	}
}

// What is no text is refused by itself, also where it would go to the leader in one call
// with others.
func TestPinMany_TextThatIsNoneHoldsUpNobody(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	bad := func(n int) []api.Request {
		named, told, asked := ask(n, copies(1, 1)), ask(n, copies(1, 1)), ask(n, api.PinOptions{})
		named.Name = "/a\xff"
		told.Metadata = map[string]string{"k": "\xfe"}
		asked.Requests = []api.PinRequest{{ID: "a", Name: "/\xc3"}}
		return []api.Request{{Type: api.RequestPin, Pin: named}, {Type: api.RequestPin, Pin: told}, {Type: api.RequestPin, Pin: asked}}
	}
	for peer := range 3 {
		good := api.Request{Type: api.RequestPin, Pin: ask(10+peer, copies(1, 1))}
		all := c.pinners[c.ids[peer]].PinMany(t.Context(), append(bad(peer), good))
		for i, res := range all[:3] {
			if err := res.Fault.Err(); !errors.Is(err, api.Invalid) {
				t.Errorf("peer %d, %d: %v", peer, i, err)
			}
		}
		if err := all[3].Fault.Err(); err != nil {
			t.Errorf("peer %d, the good one: %v", peer, err)
		}
	}
}

func TestRequests_AsManyAsARecordHolds(t *testing.T) {
	c := newCluster(t, 1, Options{})
	c.run()
	for n := 0; ; n++ {
		f := c.request(0, 1, fmt.Sprintf("%0200d", n), nil).Fault
		if f == nil && n < 200 {
			continue
		}
		if n < 10 || f == nil || f.Kind != api.TooLarge {
			t.Fatalf("request %d: %v", n, f)
		}
		break
	}
}
