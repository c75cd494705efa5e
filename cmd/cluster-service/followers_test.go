package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// A talker is a follower that has the pinset, and says and shows of content what a test
// wants.
type talker struct {
	id     api.PeerID
	poses  api.PeerID // whose copies it says they are
	feed   *feed.Follower
	blocks feed.Blocks      // that it has
	mute   bool             // it takes questions and answers none
	hold   string           // all where it is ""
	has    map[api.Cid]bool // what it says it has; nil: all
	claim  *feed.Claim      // of a share
	all    bool             // it knows all members, not one alone
	waits  time.Duration    // for a word of its neighbour; 15s where it is 0
	lost   atomic.Bool      // it has no blocks any more, and does not say so
	stop   func()
}

func (f *talker) Report(ctx context.Context) (feed.Report, error) {
	if f.mute {
		<-ctx.Done()
		return feed.Report{}, ctx.Err()
	}
	s, hold, claim := f.feed.Status(), "all", feed.ClaimAll()
	if f.hold != "" {
		hold, claim = f.hold, feed.Claim{}
	}
	if f.claim != nil {
		claim = *f.claim
	}
	return feed.Report{Index: s.Index, Digest: s.Digest[:], Settled: s.Settled, Hold: hold, Pins: 3, Wanted: 3, Claim: claim[:]}, nil
}

// PinStatuses says that everything is there, or what it has.
func (f *talker) PinStatuses(ctx context.Context, cids []api.Cid) (out []api.PinInfo, _ error) {
	if f.mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, c := range cids {
		if f.has != nil && !f.has[c] {
			continue
		}
		out = append(out, api.PinInfo{Cid: c, Peer: f.poses, PinInfoShort: api.PinInfoShort{Status: api.StatusPinned,
			Timestamp: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}})
	}
	return out, nil
}

func (f *talker) Challenge(ctx context.Context, c feed.Challenge) (feed.Answer, error) {
	if f.lost.Load() {
		return c.Answer(ctx, noBlocks{})
	}
	return c.Answer(ctx, f.blocks)
}

// noBlocks are those of a node that has nothing.
type noBlocks struct{}

func (noBlocks) Block(context.Context, api.Cid) ([]byte, error) {
	return nil, api.NotFound.Errorf("no block")
}

// talk runs a follower of p, which knows it alone of all members unless it is to know them
// all, until the test ends.
func (p *testPeer) talk(name string, f *talker) *talker {
	p.t.Helper()
	return p.talkBy(p.followLink(), name, f)
}

// talkBy is talk with a link that was given before.
func (p *testPeer) talkBy(text, name string, f *talker) *talker {
	t := p.t
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	link, err := p2p.ParseLink(text)
	must(err)
	members, err := link.Peers()
	must(err)
	members = slices.DeleteFunc(members, func(m peer.AddrInfo) bool { return m.ID != p.id && !f.all })
	id, err := p2p.NewIdentity()
	must(err)
	st, err := state.Open(t.TempDir(), state.Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20}, quiet)
	must(err)
	host, err := p2p.NewFollowerHost(id, link.Cluster(), p2p.Options{Secret: link.Secret, Guests: 8,
		Listen: []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}}, quiet)
	must(err)
	f.id, f.poses = id.ID, p.id
	f.feed, err = feed.NewFollower(feed.Over(host), p2p.NewVerifier(link.Key, link.Incarnation), st, t.TempDir(), listeners{},
		feed.FollowerOptions{Name: name, Version: "v", Members: members, Neighbours: 1, Patience: f.waits, Answers: f}, quiet)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- host.Run(ctx) }()
	go func() { ended <- f.feed.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

// Whoever has not what it says is found out and shown, and counts for nothing; who says
// nothing holds nobody up.
func TestFollowers_ProveWhatTheySay(t *testing.T) {
	peers := startCluster(t, 2, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")
	p, other := peers[0], peers[1]
	content := p.add(randomBytes(1<<20), copies(2))
	p.add(randomBytes(1000), copies(2))
	mute := p.talk("mute", &talker{mute: true})
	honest := p.talk("honest", &talker{blocks: ownBlocks{p.daemon.node.(*embedded.Node)}})
	liar := p.talk("liar", &talker{blocks: noBlocks{}})
	named := p.pin(randomCid(), api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, Followers: []api.PeerID{mute.id}})

	follower := func(id api.PeerID) (api.Follower, error) { return other.http.Follower(t.Context(), id, false) }
	eventually(t, patience, func() error {
		f, err := follower(honest.id)
		if err == nil && (f.Proven < 3 || f.Lied > 0 || !f.Connected || f.Agrees == nil || !*f.Agrees || f.Name != "honest" || f.Hold != "all") {
			err = fmt.Errorf("the honest one is %+v", f)
		}
		return err
	})
	eventually(t, patience, func() error {
		f, err := follower(liar.id)
		if err == nil && (f.Lied == 0 || f.Proven > 0) {
			err = fmt.Errorf("the liar is %+v", f)
		}
		return err
	})
	eventually(t, patience, func() error {
		f, err := follower(mute.id)
		if err == nil && (f.Error == "" || !f.Asked.IsZero()) {
			err = fmt.Errorf("the mute one is %+v", f)
		}
		return err
	})
	eventually(t, patience, func() error { // of a member that does not answer in time there are none
		n := 0
		for _, err := range other.http.Followers(t.Context(), false) {
			if err != nil {
				return err
			}
			n++
		}
		if n != 3 {
			return fmt.Errorf("%d followers are listed, want 3", n)
		}
		return nil
	})
	nobody, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := follower(nobody.ID); code(err) != http.StatusNotFound {
		t.Errorf("a follower that nobody knows: %v", err)
	}

	eventually(t, patience, func() error { // nor in time each follower
		info, err := other.http.Copies(t.Context(), content, false)
		if err != nil {
			return err
		}
		if s := info.Followers[honest.id.String()]; s.Status != api.StatusPinned || s.PeerName != "honest" || s.Error != "" || s.Timestamp.Year() > 9000 {
			return fmt.Errorf("the honest one's copy: %+v", s)
		}
		if s := info.Followers[liar.id.String()]; s.Error == "" {
			return fmt.Errorf("the liar's copy is shown as if it were there: %+v", s)
		}
		if len(info.PeerMap) != 2 || len(info.Followers) != 2 {
			return fmt.Errorf("peers %v, followers %v", info.PeerMap, info.Followers)
		}
		return nil
	})
	info, err := other.http.Copies(t.Context(), named.Cid, false)
	if err != nil || info.Followers[mute.id.String()].Status != api.StatusClusterError {
		t.Errorf("a named follower that does not answer: %+v %v", info.Followers, err)
	}

	eventually(t, patience, func() error { // only the honest one counts
		var counted uint64
		for _, p := range peers {
			if b, ok := p.daemon.audience.coverage(time.Now()); ok {
				table, err := feed.ParseCoverage(b)
				if err != nil {
					return err
				}
				counted = max(counted, table.Followers)
			}
		}
		if counted != 1 {
			return fmt.Errorf("%d followers cover something", counted)
		}
		return nil
	})
	var proven, failed uint64
	for _, p := range peers {
		proven += p.daemon.challenger.proven.Load()
		failed += p.daemon.challenger.failed.Load()
	}
	if proven == 0 || failed == 0 {
		t.Errorf("counted %d proven, %d failed", proven, failed)
	}
}

// someBlocks are those of a node but for one in three, once it has lost them: the same
// ones each time.
type someBlocks struct {
	feed.Blocks
	lost *atomic.Bool
}

func (b someBlocks) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	if h := c.Hash(); b.lost.Load() && h[len(h)-1]%3 == 0 {
		return nil, api.NotFound.Errorf("no block")
	}
	return b.Blocks.Block(ctx, c)
}

// Who deletes a third of the blocks of what it holds is found out within a few visits: it
// passes one with a chance of (2/3)^8, 4 %.
func TestFollowers_WhoLosesSomeIsFoundOut(t *testing.T) {
	p := startCluster(t, 1, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")[0]
	p.add(randomBytes(16<<20), copies(1)) // 64 blocks and their root
	var lost atomic.Bool
	f := p.talk("careless", &talker{blocks: someBlocks{ownBlocks{p.daemon.node.(*embedded.Node)}, &lost}})
	counts := func(want uint64) {
		t.Helper()
		eventually(t, 2*patience, func() error {
			var table feed.Coverage
			if b, ok := p.daemon.audience.coverage(time.Now()); ok { // there is one only if there is somebody in it
				var err error
				if table, err = feed.ParseCoverage(b); err != nil {
					return err
				}
			}
			if table.Followers != want {
				return fmt.Errorf("%d followers count, want %d", table.Followers, want)
			}
			return nil
		})
	}
	counts(1)
	lost.Store(true)
	before, err := p.http.Follower(t.Context(), f.id, false)
	if err != nil {
		t.Fatal(err)
	}
	counts(0)
	after, err := p.http.Follower(t.Context(), f.id, false)
	if err != nil {
		t.Fatal(err)
	}
	if visits := after.Proven - before.Proven; after.Lied == 0 || visits > 10 {
		t.Errorf("it was found out %d times, after %d visits in which it was not", after.Lied, visits)
	}
}

// Who claims much and has little of it, and says so truly, makes little difference to what
// others take.
func TestFollowers_CountByWhatTheyHave(t *testing.T) {
	p := startCluster(t, 1, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")[0]
	few := map[api.Cid]bool{}
	var one api.Cid
	for n := range 20 {
		if one = p.add(randomBytes(100), copies(1)); n%10 == 0 {
			few[one] = true
		}
	}
	blocks := ownBlocks{p.daemon.node.(*embedded.Node)}
	p.talk("honest", &talker{blocks: blocks})
	for range 3 {
		p.talk("boaster", &talker{blocks: blocks, has: few})
	}
	eventually(t, patience, func() error {
		b, ok := p.daemon.audience.coverage(time.Now())
		if !ok {
			return fmt.Errorf("there is no table")
		}
		table, err := feed.ParseCoverage(b)
		if n := table.Copies(one); err == nil && (table.Followers != 4 || n != 1) {
			err = fmt.Errorf("%d followers have %d copies, want 4 and 1", table.Followers, n)
		}
		return err
	})
}

// A peer that hears of no leader does not tell followers that they are up to date.
func TestFollowers_KnowThatTheirPeerIsCutOff(t *testing.T) {
	peers := startCluster(t, 2)
	peers[0].pin(randomCid(), copies(1))
	waitEqual(t, peers)
	link := peers[1].followLink()
	peers[0].stop() // who leads, and alone votes
	eventually(t, patience, func() error {
		if id, ok := peers[1].daemon.cons.Leader(); ok {
			return fmt.Errorf("%s takes %s for its leader", peers[1].name, id)
		}
		return nil
	})
	f := peers[1].talkBy(link, "f", &talker{blocks: noBlocks{}})
	eventually(t, patience, func() error {
		if s := f.feed.Status(); !s.Settled || !s.Astray {
			return fmt.Errorf("a follower of one that has lost its leader says: %+v", s)
		}
		return nil
	})
	if f.feed.Status().Current(time.Now(), time.Hour) {
		t.Error("it takes its pinset for the newest")
	}
}
