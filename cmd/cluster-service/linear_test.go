package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pinfold-cluster/pinfold/api"
)

// An access is one operation of a client on a CID: a pin under a name that no other
// has, an unpin (name ""), or a read.
type access struct {
	cid   string
	write bool
	name  string
}

// seen is what an access told. A read tells the name, "" where there is no pin; so does
// an unpin, of what it removed, where known says so.
type seen struct {
	known bool
	name  string
}

// pinNames is a register for each CID: the name that it is pinned under, "" if it is not.
var pinNames = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		byCid := map[string][]porcupine.Operation{}
		for _, o := range h {
			c := o.Input.(access).cid
			byCid[c] = append(byCid[c], o)
		}
		var out [][]porcupine.Operation
		for _, part := range byCid {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(access), output.(seen)
		if out.known && out.name != state.(string) {
			return false, state
		}
		if in.write {
			state = in.name
		}
		return true, state
	},
}

// A record is what clients did and saw, and when.
type record struct {
	began time.Time

	mu             sync.Mutex
	ops            []porcupine.Operation
	done           int // writes acknowledged
	reads          int
	doubt, refused int
}

func (r *record) now() int64 { return time.Since(r.began).Nanoseconds() }

// add notes an operation that began at call. Where its outcome is unknown it may
// happen at any time from then on.
func (r *record) add(client int, a access, out seen, call int64, unknown bool) {
	ret := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case unknown:
		ret = math.MaxInt64
		r.doubt++
	case a.write:
		r.done++
	default:
		r.reads++
	}
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: a, Output: out, Call: call, Return: ret})
}

// client writes and reads cids through all peers until ctx ends.
func (r *record) client(ctx context.Context, id int, peers []*testPeer, cids []api.Cid) {
	for i := 0; ctx.Err() == nil; i++ {
		p, c := peers[rand.IntN(len(peers))], cids[rand.IntN(len(cids))]
		if rand.IntN(2) == 0 {
			r.read(ctx, id, p, c)
		} else {
			name := ""
			if rand.IntN(4) > 0 {
				name = fmt.Sprintf("%d-%d", id, i)
			}
			r.write(ctx, id, p, c, name)
		}
		pause(ctx, time.Duration(rand.IntN(10))*time.Millisecond)
	}
}

// pause returns after d, or where ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// answerLimit is how long a client waits for an answer.
const answerLimit = time.Second

func (r *record) write(ctx context.Context, id int, p *testPeer, c api.Cid, name string) {
	wait, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	a := access{cid: c.String(), write: true, name: name}
	var was api.Pin
	var err error
	call := r.now()
	if name == "" {
		was, err = p.http.Unpin(wait, c)
	} else {
		o := copies(1)
		o.Name = name
		_, err = p.http.Pin(wait, c, o)
	}
	switch code(err) {
	case http.StatusAccepted: // done, though p cannot show it yet
		r.add(id, a, seen{}, call, false)
	case http.StatusNotFound: // which is to have seen that there is no pin
		a.write = false
		r.add(id, a, seen{known: true}, call, false)
	case http.StatusServiceUnavailable: // which is to have done nothing: the name must never be read
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused++
	default:
		// Of an unpin that was sent twice the answer does not tell what it removed.
		r.add(id, a, seen{known: was.Name != "", name: was.Name}, call, err != nil)
		if err != nil {
			pause(ctx, answerLimit/2) // many of these make a history hard to check
		}
	}
}

// read reads c through p once p has all that was acknowledged before.
func (r *record) read(ctx context.Context, id int, p *testPeer, c api.Cid) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	call := r.now()
	if err := p.daemon.current(ctx); err != nil {
		return
	}
	pin, err := p.http.Allocation(ctx, c)
	if err == nil || code(err) == http.StatusNotFound {
		r.add(id, access{cid: c.String()}, seen{known: true, name: pin.Name}, call, false)
	}
}

// ownWrites changes a CID of its own through p until ctx ends, and reads each change
// there without waiting for anything.
func (r *record) ownWrites(ctx context.Context, p *testPeer) {
	c := randomCid()
	for i := 0; ctx.Err() == nil; i++ {
		want := fmt.Sprint(i)
		wait, cancel := context.WithTimeout(ctx, answerLimit)
		o := copies(1)
		o.Name = want
		_, err := p.http.Pin(wait, c, o)
		cancel()
		if err != nil {
			c = randomCid() // of the old one nothing is known any more
			continue
		}
		if got, err := p.http.Allocation(ctx, c); ctx.Err() == nil && (err != nil || got.Name != want) {
			p.t.Errorf("%s reads %q, %v, after it acknowledged %q", p.name, got.Name, err, want)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// What clients of all peers do and see while leaders are cut off and stopped is as if
// there were one pinset, changed by one after the other.
func TestCluster_HistoryIsLinearizable(t *testing.T) {
	t.Parallel()
	net := newLAN(t)
	peers := startOn(t, net, 3)
	var cids []api.Cid
	for range 6 {
		cids = append(cids, randomCid())
	}
	r := &record{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for id := range 10 {
		clients.Go(func() { r.client(ctx, id, peers, cids) })
	}
	for _, p := range peers {
		clients.Go(func() { r.ownWrites(ctx, p) })
	}
	defer clients.Wait()

	failovers := 0
	r.wait(t, 30)
	calm := r.history() // nothing in it is in doubt
	for _, cut := range []func(leader, others []*testPeer){net.part, net.cut, func(leader, others []*testPeer) { net.cut(others, leader) }} {
		old, others := leaderOf(t, peers)
		cut([]*testPeer{old}, others)
		eventually(t, patience, func() error {
			for _, p := range others {
				if self, err := p.self(); err == nil && self.Role == "leader" {
					return nil
				}
			}
			return fmt.Errorf("nobody leads instead of %s", old.name)
		})
		failovers++
		r.wait(t, 10)
		net.heal()
		r.wait(t, 10)
	}
	stop()
	clients.Wait()
	waitTogether(t, peers)

	// What is there at the end is read last.
	for _, c := range cids {
		r.read(t.Context(), 0, peers[0], c)
	}
	began := time.Now()
	if got := porcupine.CheckOperationsTimeout(pinNames, r.history(), time.Minute); got != porcupine.Ok {
		t.Errorf("the history is %v", got)
	}
	t.Logf("%d failovers; %d writes were acknowledged, %d refused, %d are in doubt; %d reads; checked in %s",
		failovers, r.done, r.refused, r.doubt, r.reads, time.Since(began))
	r.add(0, access{cid: cids[0].String()}, seen{known: true, name: "never written"}, r.now(), false)
	calm = append(calm, r.history()[len(r.ops)-1])
	if got := porcupine.CheckOperationsTimeout(pinNames, calm, time.Minute); got != porcupine.Illegal {
		t.Errorf("control: a history with a wrong read is %v", got)
	}
}

// history is a copy of what clients did until now.
func (r *record) history() []porcupine.Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

// wait returns once n more writes and reads than before came to something.
func (r *record) wait(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return min(r.done, r.reads)
	}
	n += count()
	eventually(t, patience, func() error {
		if got := count(); got < n {
			return fmt.Errorf("%d writes and reads came to something, want %d", got, n)
		}
		return nil
	})
}
