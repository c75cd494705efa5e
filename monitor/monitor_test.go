package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = slog.New(slog.DiscardHandler)

// hub carries messages between the peers of a test.
type hub struct {
	mu      sync.Mutex
	members []api.Member
	inboxes map[api.PeerID]chan envelope
	arrive  map[api.PeerID]chan struct{}
	sent    int
	cut     map[api.PeerID]bool // publishes nothing
	broken  bool                // Publish fails
}

type envelope struct {
	from api.PeerID
	data []byte
	err  error
}

func newHub(ids ...api.PeerID) *hub {
	h := &hub{inboxes: map[api.PeerID]chan envelope{}, arrive: map[api.PeerID]chan struct{}{}, cut: map[api.PeerID]bool{}}
	for _, id := range ids {
		h.members = append(h.members, api.Member{ID: id})
		h.inboxes[id], h.arrive[id] = make(chan envelope, 1000), make(chan struct{}, 100)
	}
	return h
}

func (h *hub) Members() ([]api.Member, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.members), nil
}

func (h *hub) Applied() uint64 { return 42 }

func (h *hub) send(e envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent++
	for _, in := range h.inboxes {
		in <- e
	}
}

type topic struct {
	*hub
	self api.PeerID
}

func (t topic) Publish(_ context.Context, data []byte) error {
	t.mu.Lock()
	cut, broken := t.cut[t.self], t.broken
	t.mu.Unlock()
	if broken {
		return errors.New("no network")
	}
	if !cut {
		t.send(envelope{from: t.self, data: data})
	}
	return nil
}

func (t topic) Next(ctx context.Context) (api.PeerID, []byte, error) {
	select {
	case e := <-t.inboxes[t.self]:
		return e.from, e.data, e.err
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

func (t topic) Arrived(ctx context.Context) error {
	select {
	case <-t.arrive[t.self]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func free(n uint64) Sampler {
	return FreeSpace(func(context.Context) (uint64, error) { return n, nil })
}

func start(t *testing.T, h *hub, contact Contact, ids ...api.PeerID) []*Monitor {
	var list []*Monitor
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, id := range ids {
		ping := Ping("name of "+string(id), func(context.Context) (api.IPFSID, error) { return api.IPFSID{}, errors.New("down") })
		m := New(id, topic{h, id}, h, []Sampler{ping, free(100), PinQueue(func() int { return 7 }), Tags(map[string]string{"group": "g-" + string(id)})}, contact, Options{}, quiet)
		list = append(list, m)
		wg.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
	return list
}

func (m *Monitor) of(id api.PeerID) api.PeerHealth {
	for _, h := range m.Health() {
		if h.ID == id {
			return h
		}
	}
	return api.PeerHealth{}
}

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestMonitor_PeersHearOfEachOtherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b", "c")
		ms := start(t, h, nil, "a", "b", "c")
		wait(time.Second)
		for _, m := range ms {
			for _, id := range []api.PeerID{"a", "b", "c"} {
				got := m.of(id)
				if !got.Alive || !got.Measured || got.Free != 100 || got.Pending != 7 || got.Tags["group"] != "g-"+string(id) || got.Index != 42 || got.Skew != 0 {
					t.Fatalf("%s of %s: %+v", m.self, id, got)
				}
			}
		}
		if got, want := ms[0].Names(), []string{"freespace", "ping", "pinqueue", "tag:group"}; !slices.Equal(got, want) {
			t.Fatalf("names %v, want %v", got, want)
		}
		pings := ms[1].Latest("ping")
		if len(pings) != 3 || pings[0].Peer != "a" || pings[0].Value != `{"peer_name":"name of a"}` || !pings[0].Valid || pings[0].Expire-pings[0].ReceivedAt != int64(30*time.Second) {
			t.Fatalf("pings %+v", pings)
		}
		if got := ms[0].Latest("nothing"); got == nil || len(got) != 0 {
			t.Fatalf("unknown metric: %v", got)
		}
	})
}

func TestD07_EachDeathAndReturnIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b", "c")
		var heard time.Time // of b, by Raft
		var mu sync.Mutex
		ms := start(t, h, func(id api.PeerID) time.Time {
			mu.Lock()
			defer mu.Unlock()
			if id == "b" {
				return heard
			}
			return time.Time{}
		}, "a", "b", "c")
		var turns []string
		stop := ms[0].Watch(func(p api.PeerID, alive bool) { turns = append(turns, fmt.Sprint(string(p), alive)) })
		defer stop()
		wait(time.Minute)
		if alive := ms[0].Alive(); len(alive) != 3 || len(ms[0].Alerts()) != 0 {
			t.Fatalf("alive %v, alerts %v", alive, ms[0].Alerts())
		}

		h.mu.Lock()
		h.cut["b"], h.cut["c"] = true, true
		h.mu.Unlock()
		wait(20 * time.Second)
		mu.Lock()
		heard = time.Now()
		mu.Unlock()
		wait(15 * time.Second)
		if got := ms[0].Alive(); !slices.Equal(got, []api.PeerID{"a", "b"}) {
			t.Fatalf("c must be dead, b was heard by Raft: alive %v", got)
		}
		if err := ms[0].Dead("c"); !errors.Is(err, api.Unavailable) || ms[0].Dead("b") != nil || ms[0].Dead("unknown") != nil {
			t.Fatalf("c must be dead, b was heard by Raft: %v, %v", err, ms[0].Dead("b"))
		}
		if b := ms[0].of("b"); b.Measured {
			t.Fatal("the metrics of b have expired")
		}
		wait(time.Minute)
		if got := ms[0].Alive(); !slices.Equal(got, []api.PeerID{"a"}) || !slices.Equal(turns, []string{"cfalse", "bfalse"}) {
			t.Fatalf("alive %v, turns %v", got, turns)
		}
		died := ms[0].of("c").Since

		alerts := ms[0].Alerts()
		if len(alerts) != 8 || alerts[0].TriggeredAt.Before(alerts[7].TriggeredAt) || len(ms[0].Latest("ping")) != 1 {
			t.Fatalf("%d alerts, want one of each metric of two peers, once", len(alerts))
		}

		h.mu.Lock()
		h.cut["c"] = false
		h.mu.Unlock()
		wait(20 * time.Second)
		c := ms[0].of("c")
		if !c.Alive || !c.Measured || !c.Died.Equal(died) || !slices.Contains(turns, "ctrue") {
			t.Fatalf("c is back: %+v, turns %v", c, turns)
		}
	})
}

func TestMonitor_NeverHeardDiesAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b")
		m := start(t, h, nil, "a")[0]
		wait(20 * time.Second)
		if b := m.of("b"); !b.Alive || b.Measured {
			t.Fatalf("too early to tell: %+v", b)
		}
		wait(15 * time.Second)
		if b := m.of("b"); b.Alive {
			t.Fatal("b lives without ever having said so")
		}
	})
}

func TestMonitor_RemovedPeerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b", "c")
		m := start(t, h, nil, "a", "b", "c")[0]
		wait(time.Second)
		h.mu.Lock()
		h.cut["b"] = true
		h.mu.Unlock()
		wait(time.Minute)
		if len(m.Alerts()) == 0 {
			t.Fatal("no alert of b")
		}
		h.mu.Lock()
		h.members = h.members[:1] // c goes on publishing
		h.mu.Unlock()
		wait(time.Minute)
		if len(m.Health()) != 1 || len(m.Alerts()) != 0 || len(m.Latest("ping")) != 1 {
			t.Fatalf("health %v, alerts %v", m.Health(), m.Alerts())
		}
	})
}

// A peer that has just joined is heard of with its first message, and says it as soon
// as somebody is there to hear it.
func TestMonitor_JoinerIsMeasuredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b")
		h.members = h.members[:1]
		a := start(t, h, nil, "a")[0]
		wait(10*time.Minute + 300*time.Millisecond)
		h.mu.Lock()
		h.members = []api.Member{{ID: "a"}, {ID: "b"}}
		h.cut["b"] = true // not connected yet
		h.mu.Unlock()
		start(t, h, nil, "b")
		wait(100 * time.Second)
		if a.of("b").Measured {
			t.Fatal("b is not connected")
		}
		h.mu.Lock()
		delete(h.cut, "b")
		h.mu.Unlock()
		for range 100 { // one answer to many
			h.arrive["b"] <- struct{}{}
		}
		h.mu.Lock()
		h.sent = 0
		h.mu.Unlock()
		wait(300 * time.Millisecond) // the least between two messages, and some
		if !a.of("b").Measured {
			t.Fatal("b is connected, and not heard of at once")
		}
		wait(time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.sent > 6 {
			t.Fatalf("%d messages in a second", h.sent)
		}
	})
}

func TestD14_OldNumbersAndOthersMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b")
		m := start(t, h, nil, "a")[0]
		say := func(number uint64, wall time.Time, weight int64) int64 {
			data, err := encode(message{Number: number, Wall: wall.UnixNano(), Metrics: []measurement{{Name: "freespace", Weight: weight, Valid: true, TTL: 30 * time.Second}}})
			if err != nil {
				t.Fatal(err)
			}
			h.send(envelope{from: "b", data: data})
			synctest.Wait()
			return m.of("b").Free
		}
		began := time.Now()
		if got := say(10, began, 1); got != 1 {
			t.Fatalf("free %d, want 1", got)
		}
		for _, number := range []uint64{10, 9} {
			if got := say(number, began, 2); got != 1 {
				t.Fatalf("number %d after 10 was taken", number)
			}
		}
		if got := say(11, began.Add(2*time.Hour), 3); got != 3 || m.of("b").Skew != 2*time.Hour {
			t.Fatalf("free %d, skew %v", got, m.of("b").Skew)
		}
		wait(time.Minute)
		if say(9, began, 4); m.of("b").Alive {
			t.Fatal("a replay of an old message brought b back")
		}
		if got := say(9, time.Now(), 5); got != 5 {
			t.Fatal("b's clock was set back; it stays dead for good")
		}
		if m.of("a").Free != 100 {
			t.Fatal("b spoke for a")
		}
	})
}

func TestMonitor_GoesOnAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b")
		h.broken = true
		ms := start(t, h, nil, "a", "b")
		h.inboxes["a"] <- envelope{err: errors.New("overrun")}
		h.inboxes["a"] <- envelope{from: "b", data: []byte("not CBOR")}
		wait(time.Minute)
		if ms[0].of("b").Alive {
			t.Fatal("b cannot have been heard")
		}
		h.mu.Lock()
		h.broken = false
		h.mu.Unlock()
		wait(time.Minute)
		if !ms[0].of("b").Alive || !ms[1].of("a").Alive {
			t.Fatal("peers do not find each other again")
		}
	})
}

func TestMonitor_SlowSamplerHoldsUpNoPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub("a", "b")
		slow := func(ctx context.Context) []api.Metric { <-ctx.Done(); return nil }
		m := New("b", topic{h, "b"}, h, []Sampler{slow, free(1)}, nil, Options{}, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		other := start(t, h, nil, "a")[0]
		for range 20 {
			wait(10 * time.Second)
			if !other.of("b").Measured {
				t.Error("b's metrics expired")
			}
		}
		cancel()
		wg.Wait()
	})
}

func TestMonitor_AlertsAreBounded(t *testing.T) {
	h := newHub("a")
	m := New("a", topic{h, "a"}, h, nil, nil, Options{Interval: time.Nanosecond}, quiet)
	m.check()
	for i := range 30 {
		var msg message
		for k := range maxMetrics {
			msg.Metrics = append(msg.Metrics, measurement{Name: fmt.Sprint(i, " ", k), TTL: time.Nanosecond})
		}
		msg.Number = uint64(i + 1)
		m.heard("a", msg)
		m.check()
	}
	if got := m.Alerts(); len(got) != maxAlerts || got[0].Name[:3] != "29 " {
		t.Fatalf("%d alerts, the first of %q", len(got), got[0].Name)
	}
}

func TestSamplers(t *testing.T) {
	ctx := t.Context()
	if got := FreeSpace(func(context.Context) (uint64, error) { return 0, errors.New("down") })(ctx)[0]; got.Valid {
		t.Errorf("unknown free space is told: %+v", got)
	}
	if got := ReadOnly()(ctx)[0]; got.Name != "readonly" || got.Weight != 1 {
		t.Errorf("read-only: %+v", got)
	}
	tags := Tags(map[string]string{"zone": "z", "group": "g"})(ctx)
	if len(tags) != 2 || tags[0].Name != "tag:group" || tags[0].Value != "g" || !tags[0].Partitionable {
		t.Errorf("tags: %+v", tags)
	}
}

func TestDecode_Bounds(t *testing.T) {
	ok := measurement{Name: "x", TTL: time.Second}
	for name, m := range map[string]message{
		"metrics":   {Metrics: slices.Repeat([]measurement{ok}, maxMetrics+1)},
		"no name":   {Metrics: []measurement{{TTL: 1}}},
		"name":      {Metrics: []measurement{{Name: strings.Repeat("n", maxName+1), TTL: 1}}},
		"value":     {Metrics: []measurement{{Name: "n", Value: strings.Repeat("n", maxValue+1), TTL: 1}}},
		"for ever":  {Metrics: []measurement{{Name: "n", TTL: maxTTL + 1}}},
		"no time":   {Metrics: []measurement{{Name: "n"}}},
		"too large": {Metrics: slices.Repeat([]measurement{{Name: "n", Value: strings.Repeat("v", maxValue), TTL: 1}}, 9)},
	} {
		data, err := api.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if Valid("a", data) {
			t.Errorf("%s: passed", name)
		}
		if _, err := encode(m); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := encode(message{Number: 1, Wall: 2, Index: 3, Metrics: []measurement{{Name: "ping", Value: "v", Weight: -4, Partitionable: true, Valid: true, TTL: time.Second}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		again, err := encode(m)
		if err != nil {
			return // a longer form than the deterministic one was under the bound
		}
		back, err := decode(again)
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		if third, _ := encode(back); !bytes.Equal(again, third) {
			t.Fatal("the form changes")
		}
	})
}
