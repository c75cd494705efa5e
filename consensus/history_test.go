package consensus

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// An access is one operation of a client on a CID: a write of value, "" removing it, or
// a read.
type access struct {
	key   string
	write bool
	value string
}

// registers is one register for each CID.
var registers = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range h {
			k := o.Input.(access).key
			byKey[k] = append(byKey[k], o)
		}
		var out [][]porcupine.Operation
		for _, part := range byKey {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(access); in.write {
			return true, in.value
		}
		return output.(string) == state.(string), state
	},
}

// A history is what clients did and saw.
type history struct {
	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) add(client int, a access, out string, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: a, Output: out, Call: call, Return: ret})
}

// enough tells whether there are operations, and reads among them, to look at.
func (h *history) enough() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	reads, last := h.reads()
	return len(h.ops) >= 300 && reads >= 50 && last >= 0
}

// reads counts them, and tells which is the last that found something; -1: none.
func (h *history) reads() (n, last int) {
	last = -1
	for i, o := range h.ops {
		if a := o.Input.(access); !a.write {
			n++
			if o.Output.(string) != "" {
				last = i
			}
		}
	}
	return n, last
}

// leads finds a peer that believes it leads; a deposed one may.
func (g *group) leads(r *rand.Rand) *node {
	up := g.nodes
	at := r.IntN(len(up))
	for i := range up {
		n := up[(at+i)%len(up)]
		if r, _, err := n.c.running(); err == nil && r.State() == raft.Leader {
			return n
		}
	}
	return nil
}

// write makes the value that of the key: true done, false nobody knows.
func (g *group) write(ctx context.Context, r *rand.Rand, a access) (done, tried bool) {
	for ctx.Err() == nil {
		n := g.leads(r)
		if n == nil {
			<-time.After(5 * time.Millisecond)
			continue
		}
		p, err := n.st.Get(ctx, testCid(a.key))
		if err != nil && api.KindOf(err) != api.NotFound {
			continue
		}
		op := unpinOp(a.key, p.Revision)
		if a.value != "" {
			op = pinOp(a.key)
			op.Pin.Name, op.Revision = a.value, p.Revision
		}
		wait, cancel := context.WithTimeout(ctx, time.Second)
		out, err := n.c.Commit(wait, []api.Op{op})
		cancel()
		switch {
		case err == nil && out[0].Status == api.OpApplied:
			return true, true
		case api.KindOf(err) == api.Unknown:
			return false, true
		case err != nil:
			<-time.After(5 * time.Millisecond)
		}
	}
	return false, false
}

// read gives the key's value, as the leader's index shows it on any peer.
func (g *group) read(ctx context.Context, r *rand.Rand, key string) (string, bool) {
	n := g.leads(r)
	if n == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	index, err := n.c.ReadIndex(ctx)
	if err != nil {
		return "", false
	}
	from := g.nodes[r.IntN(len(g.nodes))]
	if from.c.WaitApplied(ctx, index) != nil {
		return "", false
	}
	p, err := from.st.Get(ctx, testCid(key))
	return p.Name, err == nil || api.KindOf(err) == api.NotFound
}

func TestConsensus_HistoryIsLinearizable(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	var h history
	began := time.Now()
	now := func() int64 { return time.Since(began).Nanoseconds() }
	var clients sync.WaitGroup
	for c := range 6 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			for i := 0; ctx.Err() == nil; i++ {
				a := access{key: fmt.Sprint("key", r.IntN(3)), write: r.IntN(2) == 0}
				call := now()
				if !a.write {
					if v, ok := g.read(ctx, r, a.key); ok {
						h.add(c, a, v, call, now())
					}
					<-time.After(time.Millisecond)
					continue
				}
				if r.IntN(5) > 0 {
					a.value = fmt.Sprintf("%d-%d", c, i)
				}
				if done, tried := g.write(ctx, r, a); done {
					h.add(c, a, "", call, now())
				} else if tried {
					h.add(c, a, "", call, math.MaxInt64) // perhaps, at any time
				}
				<-time.After(time.Duration(r.IntN(4)) * time.Millisecond)
			}
		})
	}
	for range 3 { // each leader is cut off in turn, and comes back
		old := g.leader()
		g.m.split(old.id, old.others()...)
		g.leaderOf(g.followers(old))
		<-time.After(100 * time.Millisecond)
		g.m.heal()
		<-time.After(300 * time.Millisecond)
	}
	until(t, "enough operations", func() bool { return h.enough() })
	stop()
	clients.Wait()
	g.same()

	reads, last := h.reads()
	t.Logf("%d operations, %d of them reads", len(h.ops), reads)
	if got := porcupine.CheckOperationsTimeout(registers, h.ops, time.Minute); got != porcupine.Ok {
		t.Errorf("history is %v", got)
	}
	h.ops[last].Output = "never written"
	// Without the writes in doubt, all orders of which it would have to try.
	sure := slices.DeleteFunc(h.ops, func(o porcupine.Operation) bool { return o.Return == math.MaxInt64 })
	if got := porcupine.CheckOperationsTimeout(registers, sure, time.Minute); got != porcupine.Illegal {
		t.Errorf("control: a history with a wrong read is %v", got)
	}
}
