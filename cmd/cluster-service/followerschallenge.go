package main

import (
	"context"
	"crypto/rand"
	"iter"
	mathrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	// visitorsChallenged is how many of those without a place are challenged at once: some
	// answer slowly, and others have gone soon.
	visitorsChallenged = 4
	// challengeBlocks are asked for in one challenge.
	challengeBlocks = 8
	// challengeTime bounds an answer: fetching blocks only now shall not do.
	challengeTime = 5 * time.Second
	// challengeSoon is before another look for what a follower may prove that had nothing,
	// and has proven nothing yet: until it does, its claims do not count.
	challengeSoon = 30 * time.Second
	// challengeChoice is about how many pins there are to be questions, of which one is put.
	challengeChoice = 4
	// challengeLook is how many pins are looked at for those, challengeAsked at most, of
	// which to ask a follower whether it has them.
	challengeLook  = 4096
	challengeAsked = 16
)

// ownNode is what a challenger asks of this peer's node.
type ownNode interface {
	feed.Blocks
	PinStatus(ctx context.Context, c api.Cid) (api.PinMode, bool, error)
}

// embeddedNode is an embedded node, of which the own blocks alone are read.
type embeddedNode struct {
	*embedded.Node
	own ownBlocks
}

func (n embeddedNode) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	return n.own.Block(ctx, c)
}

// elsewhere fills in questions, about pins in the same order, that are not there yet.
type elsewhere func(ctx context.Context, cids []api.Cid, out []api.Question)

// somePins are what a challenger asks of the pinset.
type somePins interface {
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	List(ctx context.Context, q state.Query) iter.Seq2[api.Pin, error]
}

// A challenger has followers prove now and then that they have a pin that they say they
// have: those that are connected one after the other, and beside them a few that visit.
type challenger struct {
	*audience
	pins   somePins
	node   ownNode       // nil: this peer challenges nobody by itself
	others elsewhere     // of pins that are not on the node
	every  time.Duration // between challenges of one follower
	absent time.Duration // after which one that answers nothing has no copies that count
	proofs proofs

	proven, failed, unanswered atomic.Uint64
}

func newChallenger(a *audience, pins somePins, node ownNode, others elsewhere, every, absent time.Duration) *challenger {
	return &challenger{audience: a, pins: pins, node: node, others: others, every: every, absent: absent}
}

// run challenges followers until ctx ends.
func (c *challenger) run(ctx context.Context) error {
	if c.node == nil {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		c.challengeAll(ctx)
		return nil
	})
	for range visitorsChallenged {
		g.Go(func() error {
			c.challengeVisitors(ctx)
			return nil
		})
	}
	return g.Wait()
}

// challengeAll challenges those that are connected until ctx ends.
func (c *challenger) challengeAll(ctx context.Context) {
	tick := time.NewTicker(min(askTick, c.every))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.turn(ctx, c.feed.Followers())
		}
	}
}

// challengeVisitors challenges one after the other until ctx ends.
func (c *challenger) challengeVisitors(ctx context.Context) {
	tick := time.NewTicker(min(askTick, c.every))
	defer tick.Stop()
	for ctx.Err() == nil {
		if visitor, done, ok := c.visited.take(time.Now()); ok {
			c.turn(ctx, []feed.Peer{visitor.Peer})
			done()
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.visited.came:
		case <-tick.C:
		}
	}
}

// turn challenges the follower of these whose turn it is, if any.
func (c *challenger) turn(ctx context.Context, of []feed.Peer) {
	n, ok := c.book.toChallenge(of, c.every, time.Now())
	if !ok {
		return
	}
	asked, err := c.challenge(ctx, n)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("a follower was not challenged", "peer", n.peer.ID, "err", err)
	}
	if !asked && n.results.proven == 0 {
		c.book.challenged(n.peer.ID, func(r *challengeCounts) { r.last = r.last.Add(min(challengeSoon, c.every) - c.every) })
	}
}

// challenge asks a follower which of some pins that it claims it has, and has it prove one
// of them about which there is a question. It tells whether there was one. The error is of
// this peer.
func (c *challenger) challenge(ctx context.Context, n followerNote) (asked bool, err error) {
	id := n.peer.ID
	some, large, err := c.choose(ctx, n)
	if err != nil {
		return false, err
	}
	if len(some) == 0 {
		if large > 0 {
			c.sampled(id, sample{large: large})
		}
		return false, nil
	}
	held, err := c.held(ctx, id, some)
	if err != nil {
		if ctx.Err() == nil { // who does not say what it has leaves a challenge unanswered
			c.judge(ctx, id, some[0], false, false)
			c.sampled(id, sample{asked: len(some), large: large})
		}
		return false, nil
	}
	claimed := len(some)
	some = slices.DeleteFunc(some, func(id api.Cid) bool { return !held[id] })
	if len(some) == 0 {
		c.sampled(id, sample{asked: claimed, large: large})
		return false, nil
	}
	mathrand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	try := some[:min(len(some), challengeChoice)]
	for i, q := range c.questions(ctx, try) {
		if len(q.Cids) == 0 {
			continue
		}
		shown := 0
		if c.put(ctx, id, try[i], q) {
			shown = len(some)
		}
		if ctx.Err() == nil {
			c.sampled(id, sample{claimed, shown, large})
		}
		return true, nil
	}
	return false, nil
}

// sampled notes a sample of what a follower claims. It has shown that it has some by one of
// them for all.
func (c *challenger) sampled(id api.PeerID, s sample) {
	now := time.Now()
	c.book.challenged(id, func(r *challengeCounts) { r.sampled(s, now) })
	c.count(id, now)
}

// judge counts what became of a challenge.
func (c *challenger) judge(ctx context.Context, id api.PeerID, root api.Cid, answered, proven bool) {
	switch {
	case proven:
		c.proven.Add(1)
	case answered && c.stillHeld(ctx, id, root):
		c.failed.Add(1)
	default:
		c.unanswered.Add(1)
		answered = false
	}
	now := c.book.challenged(id, func(r *challengeCounts) {
		switch {
		case proven:
			r.proven, r.silent = r.proven+1, 0
		case answered:
			r.lied, r.failed = r.lied+1, time.Now()
		default:
			r.unanswered, r.silent, r.failed = r.unanswered+1, r.silent+1, time.Now()
		}
	})
	if proven {
		c.proofs.add(root, proof{id, time.Now()})
	}
	if !proven && answered && now.lied == 1 { // once: it may go on lying
		c.log.Warn("a follower has not what it says it has: its claims count for nothing", "peer", id, "cid", root)
	}
	c.count(id, time.Now())
}

// stillHeld tells whether a follower that did not prove its copy still says it has it,
// of a pin that is still there: else it has let go of it meanwhile.
func (c *challenger) stillHeld(ctx context.Context, id api.PeerID, root api.Cid) bool {
	if _, err := c.pins.Get(ctx, root); err != nil {
		return false
	}
	held, err := c.held(ctx, id, []api.Cid{root})
	return err == nil && held[root]
}

// held are those of the CIDs that a follower says it has whole.
func (c *challenger) held(ctx context.Context, id api.PeerID, cids []api.Cid) (map[api.Cid]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	infos, err := c.feed.PinStatuses(ctx, id, cids)
	if err != nil {
		c.log.Debug("a follower does not tell what it has", "peer", id, "err", err)
		return nil, err
	}
	c.book.spoken(id, time.Now())
	out := map[api.Cid]bool{}
	for _, info := range infos {
		if info.Status == api.StatusPinned {
			out[info.Cid] = true
		}
	}
	return out, nil
}

// choose picks some pins that the follower claims and has room for, at random; none where
// few pins looked at are such. It counts those for which there is no room.
func (c *challenger) choose(ctx context.Context, n followerNote) (some []api.Cid, large int, err error) {
	looked := 0
	for _, q := range []state.Query{{After: somewhere()}, {}} { // past a random place, and round
		for p, err := range c.pins.List(ctx, q) {
			if err != nil {
				return nil, 0, err
			}
			if looked++; looked > challengeLook || len(some) == challengeAsked {
				break
			}
			switch {
			case p.Type == api.PinMeta || p.MaxDepth > 0 || !n.shallHold(p):
			case n.hasRoom(p):
				some = append(some, p.Cid)
			default:
				large++
			}
		}
	}
	return some, large, nil
}

// hasRoom tells whether a pin is no larger than all that the follower says it may take.
func (n followerNote) hasRoom(p api.Pin) bool {
	most := n.report.Capacity
	if n.report.Hold == config.HoldShare {
		most -= most / shareSpare
	}
	return n.report.Capacity == 0 || p.Size <= most
}

// somewhere is a random CID, which nothing has.
func somewhere() api.Cid {
	digest := make([]byte, 32)
	rand.Read(digest)
	hash, err := multihash.Encode(digest, multihash.SHA2_256)
	if err != nil {
		return api.CidUndef // from the start, then
	}
	switch mathrand.IntN(3) {
	case 0:
		return api.Cid{Cid: cid.NewCidV0(hash)}
	case 1:
		return api.Cid{Cid: cid.NewCidV1(cid.Raw, hash)}
	}
	return api.Cid{Cid: cid.NewCidV1(cid.DagProtobuf, hash)}
}
