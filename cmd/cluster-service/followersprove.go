package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
)

const (
	// proveTime bounds how long followers have to prove what another peer wants to know: the
	// leader's repair waits for it.
	proveTime = 4 * time.Second
	// sayTime of it they have to say what they have: who does not is silent, and not asked
	// again before it has answered another question, but for copies that count still. They
	// are asked all at once, or the silent would hold up the others.
	sayTime   = 2 * time.Second
	sayAtOnce = 64
	// questionsAsked is how many questions one call is for at most.
	questionsAsked = 256
	// holdersTried is how many holders are asked for a question about a pin of which this
	// peer has no copy.
	holdersTried = 2
)

// proven asks all peers which of their followers prove the copies that are wanted, and
// tells in order how many there are, each counted once.
func (f followers) proven(ctx context.Context, wanted []api.CopyQuery) []int {
	who := make([]map[api.PeerID]bool, len(wanted))
	for _, answer := range askPeers(ctx, f.p, false, func(ctx context.Context, to api.PeerID) ([][]api.PeerID, error) {
		return f.p.calls.Proven(ctx, to, wanted)
	}, func(ctx context.Context) ([][]api.PeerID, error) { return f.prove(ctx, f.p.ids.cluster.ID, wanted) }) {
		for i, ids := range answer {
			for _, id := range ids {
				if who[i] == nil {
					who[i] = map[api.PeerID]bool{}
				}
				who[i][id] = true
			}
		}
	}
	counts := make([]int, len(wanted))
	for i := range who {
		counts[i] = len(who[i])
	}
	return counts
}

// prove has the followers that are connected with this peer prove copies.
func (f followers) prove(ctx context.Context, _ api.PeerID, wanted []api.CopyQuery) ([][]api.PeerID, error) {
	if len(wanted) > feed.MaxAsked {
		return nil, api.TooLarge.Errorf("copies of %d pins to prove: at most %d at once", len(wanted), feed.MaxAsked)
	}
	if f.p.challenger == nil {
		return make([][]api.PeerID, len(wanted)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, proveTime)
	defer cancel()
	return f.p.challenger.prove(ctx, wanted), nil
}

// fromHolders fills in the questions that this peer cannot make, by holders of the pins.
func (f followers) fromHolders(ctx context.Context, cids []api.Cid, out []api.Question) {
	for try := range holdersTried {
		missing := map[api.PeerID][]int{}
		for i, c := range cids {
			if len(out[i].Cids) > 0 {
				continue
			}
			if living := f.livingHolders(ctx, c); try < len(living) {
				missing[living[try]] = append(missing[living[try]], i)
			}
		}
		for holder, at := range missing {
			ask := make([]api.Cid, len(at))
			for k, i := range at {
				ask[k] = cids[i]
			}
			answer, err := f.p.calls.Questions(ctx, holder, ask)
			if err != nil {
				f.p.log.Debug("a holder makes no questions", "peer", holder, "err", err)
				continue
			}
			for k, i := range at {
				out[i] = answer[k]
			}
		}
	}
}

// livingHolders are the other peers that live and are to hold a pin.
func (f followers) livingHolders(ctx context.Context, c api.Cid) []api.PeerID {
	pin, err := f.p.state.Get(ctx, c)
	if err != nil {
		return nil // it goes just now
	}
	return slices.DeleteFunc(pin.Allocations, func(id api.PeerID) bool { return id == f.p.ids.cluster.ID || f.p.monitor.Dead(id) != nil })
}

// makeQuestions answers another peer that wants questions.
func (f followers) makeQuestions(ctx context.Context, _ api.PeerID, cids []api.Cid) ([]api.Question, error) {
	if len(cids) > questionsAsked {
		return nil, api.TooLarge.Errorf("%d questions: at most %d at once", len(cids), questionsAsked)
	}
	if f.p.challenger == nil {
		return make([]api.Question, len(cids)), nil
	}
	return f.p.challenger.ownQuestions(ctx, cids), nil
}

// questions gives one about each pin, in order, made by this peer or by a holder that has
// the pin; none where neither can.
func (c *challenger) questions(ctx context.Context, cids []api.Cid) []api.Question {
	out := c.ownQuestions(ctx, cids)
	c.others(ctx, cids, out)
	return out
}

// ownQuestions are those about pins that this peer's node has whole.
func (c *challenger) ownQuestions(ctx context.Context, cids []api.Cid) []api.Question {
	out := make([]api.Question, len(cids))
	if c.node == nil {
		return out
	}
	for i, id := range cids {
		pin, err := c.pins.Get(ctx, id)
		if err != nil || pin.MaxDepth > 0 {
			continue
		}
		if _, own, err := c.node.PinStatus(ctx, id); err != nil || !own {
			continue
		}
		q, expected, err := feed.NewChallenge(ctx, c.node, dag.Links, id, pin.MaxDepth != 0, challengeBlocks)
		if err != nil {
			c.log.Debug("there is no question about a pin", "cid", id, "err", err)
			continue
		}
		out[i] = api.Question{Nonce: q.Nonce, Cids: q.Cids, Hashes: expected.Hashes}
	}
	return out
}

// A trial is a follower that is to prove its copy of a pin.
type trial struct {
	pin      api.Cid
	follower api.PeerID
}

// prove tells who proved the copies that are wanted: lately, or now when asked about just
// that pin. It asks no more followers than it takes.
func (c *challenger) prove(ctx context.Context, wanted []api.CopyQuery) [][]api.PeerID {
	pins := make([]api.Pin, len(wanted)) // none where one goes just now
	for i, q := range wanted {
		if p, err := c.pins.Get(ctx, q.Cid); err == nil {
			pins[i] = p
		}
	}
	say := c.sayThey(ctx, pins)
	tried := map[trial]bool{}
	for ctx.Err() == nil {
		var trials []trial
		for i, q := range wanted {
			have := c.proved(pins[i], time.Now())
			need := q.Need - len(have)
			for _, id := range say[q.Cid] {
				if t := (trial{q.Cid, id}); need > 0 && !tried[t] && !slices.Contains(have, id) {
					need--
					tried[t] = true
					trials = append(trials, t)
				}
			}
		}
		if len(trials) == 0 {
			break
		}
		c.try(ctx, trials)
	}
	out := make([][]api.PeerID, len(wanted))
	for i, pin := range pins {
		out[i] = c.proved(pin, time.Now())
	}
	return out
}

// sayThey asks followers that may count which of the pins they have, of those that each
// claims or that name it, and gives who says so, in random order. What one denies it has
// not proved any more.
func (c *challenger) sayThey(ctx context.Context, pins []api.Pin) map[api.Cid][]api.PeerID {
	var mu sync.Mutex
	say := map[api.Cid][]api.PeerID{}
	var g errgroup.Group
	g.SetLimit(sayAtOnce)
	for _, p := range c.feed.Followers() {
		n, ok := c.book.get(p.ID)
		if !ok || !c.fit(n) {
			continue
		}
		var ask []api.Cid
		now := time.Now()
		for _, pin := range pins {
			if pin.Cid.Defined() && n.shallHold(pin) && (n.misses == 0 || c.answers(n, now) && c.proofs.has(pin.Cid, p.ID, now)) {
				ask = append(ask, pin.Cid)
			}
		}
		if len(ask) == 0 {
			continue
		}
		g.Go(func() error {
			limit, cancel := context.WithTimeout(ctx, sayTime)
			defer cancel()
			held, err := c.held(limit, p.ID, ask)
			if err != nil {
				if ctx.Err() == nil {
					c.book.silent(p.ID)
				}
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ask {
				if held[id] {
					say[id] = append(say[id], p.ID)
				} else {
					c.proofs.drop(id, p.ID)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	for _, ids := range say {
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	}
	return say
}

// try has followers prove copies, each one after the other. One that fails is asked no more.
func (c *challenger) try(ctx context.Context, trials []trial) {
	cids := make([]api.Cid, len(trials))
	by := map[api.PeerID][]int{}
	for i, t := range trials {
		cids[i] = t.pin
		by[t.follower] = append(by[t.follower], i)
	}
	var qs []api.Question
	for some := range slices.Chunk(cids, questionsAsked) {
		qs = append(qs, c.questions(ctx, some)...)
	}
	var g errgroup.Group
	g.SetLimit(copiesAtOnce)
	for id, at := range by {
		g.Go(func() error {
			for _, i := range at {
				if len(qs[i].Cids) > 0 && ctx.Err() == nil && !c.put(ctx, id, trials[i].pin, qs[i]) {
					break
				}
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
}

// fairTime is what a follower has to answer before it can be said to have left a question
// unanswered because the time for all was over.
const fairTime = time.Second

// put puts a question to a follower, and tells whether it proved its copy. Who lets the
// time for all go by has not.
func (c *challenger) put(ctx context.Context, id api.PeerID, pin api.Cid, q api.Question) bool {
	start := time.Now()
	limit, cancel := context.WithTimeout(ctx, challengeTime)
	defer cancel()
	answer, err := c.feed.Challenge(limit, id, feed.Challenge{Nonce: q.Nonce, Cids: q.Cids})
	if ctx.Err() != nil && time.Since(start) < fairTime {
		return false
	}
	if err == nil {
		c.book.spoken(id, time.Now())
	}
	proven := err == nil && feed.Answer{Hashes: q.Hashes}.Proves(answer)
	c.judge(ctx, id, pin, err == nil, proven)
	return proven
}
