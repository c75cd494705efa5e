package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/state"
)

// strangers are followers of a cluster of three whose pins all have two holders, one of
// which dies: one follower that has the copies it is named for, and one that says so.
type strangers struct {
	t                   *testing.T
	leader, dead, third *testPeer
	honest, stops, liar *talker
}

func meetStrangers(t *testing.T, settings ...string) *strangers {
	t.Helper()
	// Who answers nothing for as long as the grace is has no copies that count.
	peers := startCluster(t, 3, append(settings, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms", "REPAIRGRACE=10s")...)
	s := &strangers{t: t}
	var others []*testPeer
	s.leader, others = leaderOf(t, peers)
	s.dead, s.third = others[0], others[1]
	has := ownBlocks{s.leader.daemon.node.(*embedded.Node)}
	s.honest = s.third.talk("honest", &talker{blocks: has, hold: "allocated"}) // of a peer that has no copy
	s.stops = s.leader.talk("stops", &talker{blocks: has, hold: "allocated"})
	s.liar = s.third.talk("liar", &talker{blocks: noBlocks{}})
	return s
}

// add adds content with a copy on the leader and on the one that dies.
func (s *strangers) add(named ...api.PeerID) api.Cid {
	s.t.Helper()
	o := copies(2)
	o.UserAllocations, o.Followers = []api.PeerID{s.leader.id, s.dead.id}, named
	return s.leader.add(randomBytes(600<<10), o)
}

// on waits until a pin is held by just these.
func (s *strangers) on(what string, c api.Cid, holders ...*testPeer) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		pin, err := s.leader.http.Allocation(s.t.Context(), c)
		if err == nil && !s.just(pin, holders...) {
			err = fmt.Errorf("%s: %s is on %v", what, c, pin.Allocations)
		}
		return err
	})
}

func (s *strangers) just(pin api.Pin, holders ...*testPeer) bool {
	return len(pin.Allocations) == len(holders) && !slices.ContainsFunc(holders, func(p *testPeer) bool { return !slices.Contains(pin.Allocations, p.id) })
}

// A holder dies. Where the operator lets copies at followers count, pins stay as they are
// whose followers prove theirs, until these fail or stop. What the liar says counts never.
func TestFollowers_CopiesCount(t *testing.T) {
	s := meetStrangers(t, "FOLLOWERS_COUNTCOPIES=true")
	a, b, claimed := s.add(s.honest.id), s.add(s.stops.id), s.add()
	s.dead.stop()
	s.on("only the liar says it has it", claimed, s.leader, s.third)
	repair := func(below, covered uint64) {
		t.Helper()
		eventually(t, patience, func() error {
			r, err := s.leader.http.Repair(t.Context())
			if err == nil && (r.Below != below || r.Covered != covered) {
				err = fmt.Errorf("repair is %+v, want %d pins below and %d covered", r, below, covered)
			}
			return err
		})
	}
	repair(0, 2)
	s.on("a follower proves its copy", a, s.leader, s.dead)
	s.on("a follower proves its copy", b, s.leader, s.dead)
	var info api.GlobalPinInfo
	eventually(t, patience, func() (err error) { // who is slow to say is shown as one that does not
		info, err = s.third.http.Copies(t.Context(), a, false)
		if err == nil && info.Followers[s.honest.id.String()].Status != api.StatusPinned {
			err = fmt.Errorf("copies at followers are shown as %+v", info.Followers)
		}
		return err
	})
	if _, ok := info.PeerMap[s.honest.id.String()]; ok {
		t.Error("a follower is shown among the peers")
	}

	s.honest.lost.Store(true)
	s.on("it has lost its copy", a, s.leader, s.third)
	s.on("the other has not", b, s.leader, s.dead)
	s.stops.stop()
	s.on("it has stopped", b, s.leader, s.third)
	repair(0, 0)
}

// Without the setting a pin of a dead holder is placed anew, whatever followers have.
func TestFollowers_CopiesDoNotCountByDefault(t *testing.T) {
	s := meetStrangers(t)
	a := s.add(s.honest.id)
	s.dead.stop()
	s.on("the setting is off", a, s.leader, s.third)
}

// oneBlock is a pinset of one pin, and a node and a follower's blocks that have it.
type oneBlock struct {
	pin  api.Pin
	data []byte
}

func (o oneBlock) Get(context.Context, api.Cid) (api.Pin, error) { return o.pin, nil }
func (o oneBlock) List(context.Context, state.Query) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) { yield(o.pin, nil) }
}
func (o oneBlock) Block(context.Context, api.Cid) ([]byte, error) { return o.data, nil }
func (o oneBlock) PinStatus(context.Context, api.Cid) (api.PinMode, bool, error) {
	return 0, true, nil
}

// holder is a hall of which each follower has a block, and says and proves so, but for
// those in mute.
type holder struct {
	*hall
	has oneBlock
}

func (h holder) PinStatuses(ctx context.Context, id api.PeerID, cids []api.Cid) (out []api.PinInfo, _ error) {
	if h.silent(id) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, c := range cids {
		out = append(out, api.PinInfo{Cid: c, PinInfoShort: api.PinInfoShort{Status: api.StatusPinned}})
	}
	return out, nil
}

func (h holder) Challenge(ctx context.Context, id api.PeerID, c feed.Challenge) (feed.Answer, error) {
	if h.silent(id) {
		<-ctx.Done()
		return feed.Answer{}, ctx.Err()
	}
	return c.Answer(ctx, h.has)
}

// A copy that was proven counts for as long as its follower answers, however seldom it is
// asked for a report, and no longer than absent after it fell silent or left.
func TestChallenger_CountsWhoAnswers(t *testing.T) {
	const absent, reports = 10 * time.Second, 2 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		claim := feed.ClaimAll()
		h := holder{newHall(1), oneBlock{data: []byte("content")}}
		h.report = feed.Report{Index: 7, Digest: make([]byte, 32), Settled: true, Hold: "all", Claim: claim[:]}
		h.has.pin = api.NewPin(randomCid(), copies(1), time.Now())
		f := h.guests[0]
		a := newAudience(h, func(api.PeerID) bool { return false }, reports, quiet)
		c := newChallenger(a, h.has, h.has, func(context.Context, []api.Cid, []api.Question) {}, time.Hour, absent)
		counted := func() bool { return len(c.prove(t.Context(), []api.CopyQuery{{Cid: h.has.pin.Cid, Need: 1}})[0]) == 1 }
		look := func(what string, for_ time.Duration, want bool) { // as repair does
			t.Helper()
			for end := time.Now().Add(for_); time.Now().Before(end); time.Sleep(3 * time.Second) {
				a.met(f) // which costs nothing
				if counted() != want {
					t.Fatalf("%s: it counts: %t", what, !want)
				}
			}
		}
		a.met(f)
		a.ask(t.Context(), f.ID)
		look("it answers", 3*reports, true)
		time.Sleep(reports) // while nobody looks
		look("it is asked again", time.Minute, true)

		h.setMute(f.ID, true)
		time.Sleep(absent / 2)
		if !counted() { // which takes it sayTime
			t.Error("one answer missed, and it does not count")
		}
		h.setMute(f.ID, false)
		look("it answers again", time.Minute, true)

		h.setMute(f.ID, true)
		time.Sleep(absent)
		look("it only says hello", 3*reports, false)
		h.setMute(f.ID, false)
		a.ask(t.Context(), f.ID)
		look("it is back", time.Minute, true)

		h.mu.Lock()
		h.guests = nil
		h.mu.Unlock()
		time.Sleep(absent / 2)
		if !counted() {
			t.Error("it may be back, and does not count")
		}
		time.Sleep(absent)
		if counted() {
			t.Error("it counts for longer than was told after it left")
		}
	})
}
