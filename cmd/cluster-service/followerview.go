package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
)

// census counts what a follower is to hold, and what of it its node has pinned.
type census struct {
	news atomic.Uint64 // of what is to be held: see telling

	mu             sync.Mutex
	wanted, pinned uint64
	taken          bool // and what is to be held was known
}

const (
	censusEvery = 2 * time.Second
	// censusShare is the part of the time, as a divisor, that counting may take.
	censusShare = 20
	// censusAnyway is after how long it is counted though nothing is known to have changed.
	censusAnyway = 2 * time.Minute
)

// A censusSign changes with what a census counts.
type censusSign struct {
	news       uint64
	chosen     bool // what is to be held
	share      feed.ShareStats
	unfinished int // pins and unpins
}

func (f *Follower) censusSign() censusSign {
	s := censusSign{news: f.census.news.Load(), chosen: true}
	if f.share != nil {
		s.share = f.share.Stats()
		s.chosen = s.share.Pins > 0 || f.chosen.Load()
	}
	for _, n := range f.tracker.Counts() {
		s.unfinished += n
	}
	return s
}

// stale tells whether a census of some age, which found all there or not, is to be taken
// anew: now is the sign, and s was it before.
func (s censusSign) stale(now censusSign, all bool, age time.Duration) bool {
	begun := all || s.unfinished > 0 // else the tracker may have begun and ended since
	return now != s || !begun || age > censusAnyway
}

// count counts again and again until ctx ends.
func (f *Follower) count(ctx context.Context) error {
	if err := f.feed.Settled(ctx); err != nil {
		return nil // ctx has ended
	}
	for {
		began, sign := time.Now(), f.censusSign()
		wanted, pinned, err := f.countOnce(ctx)
		if err == nil {
			f.census.mu.Lock()
			f.census.wanted, f.census.pinned, f.census.taken = wanted, pinned, f.census.taken || sign.chosen
			f.census.mu.Unlock()
		} else if ctx.Err() == nil && api.KindOf(err) != api.Unavailable {
			return err
		}
		wait := max(censusEvery, censusShare*time.Since(began))
		for again := false; !again; wait = censusEvery {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			again = err != nil || sign.stale(f.censusSign(), pinned >= wanted, time.Since(began))
		}
	}
}

// lacks tells whether there is content that the node is to hold and does not.
func (f *Follower) lacks() bool {
	f.census.mu.Lock()
	defer f.census.mu.Unlock()
	return f.census.pinned < f.census.wanted
}

// countOnce reads pinset and node side by side.
func (f *Follower) countOnce(ctx context.Context) (wanted, pinned uint64, err error) {
	onNode, stop := iter.Pull2(f.node.Pinned(ctx, api.CidUndef))
	defer stop()
	have, nodeErr, more := onNode()
	for p, err := range f.pins.Allocated(ctx, f.ids.cluster.ID, api.CidUndef) {
		if err != nil {
			return 0, 0, err
		}
		for more && nodeErr == nil && bytes.Compare(have.Cid.Bytes(), p.Cid.Bytes()) < 0 {
			have, nodeErr, more = onNode()
		}
		if nodeErr != nil {
			return 0, 0, nodeErr
		}
		wanted++
		if more && have.Cid == p.Cid {
			pinned++
		}
	}
	return wanted, pinned, ctx.Err()
}

// troubleSample is how many failed pins are looked at for the most frequent cause.
const troubleSample = 64

// status is what the follower tells of itself.
func (f *Follower) status(ctx context.Context) api.FollowerStatus {
	s := f.feed.Status()
	out := api.FollowerStatus{ID: f.ids.cluster.ID, Name: f.c.Cluster.PeerName, Version: version, Index: s.Index, Latest: s.Latest,
		Heard: s.Heard, Neighbours: len(s.Neighbours), Hold: f.hold, Capacity: f.c.Follow.Capacity,
		Known: f.state.Stats().Pins, Total: s.Total, KnownRate: uint64(s.Rate), Astray: s.Astray}
	out.Stopped, out.StoppedFor = stopped(s)
	if s.Settled {
		out.Digest = hex.EncodeToString(s.Digest[:])
	} else {
		out.Index = 0
	}
	f.census.mu.Lock()
	out.Wanted, out.Pinned = f.census.wanted, f.census.pinned
	out.Choosing = s.Settled && !f.census.taken && f.hold != config.HoldAll
	f.census.mu.Unlock()
	if f.hold == config.HoldAll { // known without counting
		out.Wanted = out.Known
	}
	out.Pinned = min(out.Pinned, out.Wanted)
	out.Failed = uint64(f.tracker.Counts()[api.StatusPinError])
	if out.Failed > 0 {
		out.Trouble = f.trouble(ctx)
	}
	if room, err := f.node.RepoStat(ctx); err == nil {
		out.Bytes, out.Free = room.RepoSize, room.Free
	}
	if f.share != nil {
		if st := f.share.Stats(); st.TooLarge > 0 {
			out.TooLarge = &api.LargePins{Pins: uint64(st.TooLarge), Least: st.LeastTooLarge, Room: f.shareRoom()}
		}
	}
	out.Rate = uint64(f.data.Traffic.GetBandwidthTotals().RateIn)
	return out
}

// stopped tells why a follower goes no further, "" where it does.
func stopped(s feed.FollowerStatus) (string, api.StopKind) {
	switch {
	case s.Renewed:
		return "the cluster was started anew", api.StopAnew
	case s.Stopped == "":
		return "", ""
	case s.KeyInDoubt:
		return s.Stopped, api.StopKey
	}
	return s.Stopped, api.StopContradiction
}

// trouble is the most frequent cause of failed pins.
func (f *Follower) trouble(ctx context.Context) (most api.Cause) {
	page, err := f.tracker.StatusPage(ctx, api.StatusQuery{Limit: troubleSample, Filter: api.StatusPinError, Brief: true})
	if err != nil {
		return ""
	}
	n := map[api.Cause]int{}
	for _, i := range page.Items {
		if n[i.Cause]++; n[i.Cause] > n[most] {
			most = i.Cause
		}
	}
	return most
}

// answers are what members that ask a follower are told.
type answers struct{ f *Follower }

// Report implements feed.Answers.
func (a answers) Report(ctx context.Context) (feed.Report, error) {
	s, st, claim := a.f.feed.Status(), a.f.status(ctx), a.f.claim()
	return feed.Report{Index: s.Index, Digest: s.Digest[:], Settled: s.Settled, Stopped: st.Stopped, Hold: st.Hold, Capacity: st.Capacity,
		Pins: st.Pinned, Bytes: st.Bytes, Claim: claim[:], Wanted: st.Wanted, Failed: st.Failed, Latest: st.Latest, Free: st.Free}, nil
}

// PinStatuses implements feed.Answers. What members know already is left out: they ask
// many followers.
func (a answers) PinStatuses(ctx context.Context, cids []api.Cid) ([]api.PinInfo, error) {
	out := make([]api.PinInfo, 0, len(cids))
	for _, c := range cids {
		s := a.f.tracker.Status(ctx, c).PinInfoShort
		s.PeerName, s.IPFS, s.IPFSAddresses = "", "", nil
		out = append(out, api.PinInfo{Cid: c, PinInfoShort: s})
	}
	return out, nil
}

// Challenge shows blocks that members ask for, of what is on the node alone.
func (a answers) Challenge(ctx context.Context, c feed.Challenge) (feed.Answer, error) {
	return c.Answer(ctx, ownBlocks{a.f.node})
}

// ownBlocks are those on a node: what others have is not fetched.
type ownBlocks struct{ node *embedded.Node }

// Block implements feed.Blocks.
func (o ownBlocks) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	b, err := o.node.Reader(false).GetBlock(ctx, c.Cid)
	if ipld.IsNotFound(err) {
		return nil, api.NotFound.Errorf("%s is not on the node", c)
	}
	if err != nil {
		return nil, err
	}
	return b.RawData(), nil
}

const (
	// gcRoom is the part of the capacity, as a divisor, below which a collection does not
	// wait for its time; gcSoon is the wait between such.
	gcRoom = 10
	gcSoon = 5 * time.Minute
	// gcTight is that below which it begins at the next look, where what is to be held has
	// changed: the capacity was lowered, or the pinset has outgrown it.
	gcTight = 100
	gcLook  = 30 * time.Second
	// gcShare is the part of the time, as a divisor, that collections may take.
	gcShare = 20
)

// A collection is the last one of what is no longer held.
type collection struct {
	ended time.Time
	took  time.Duration
	sign  censusSign // of what was to be held
}

// wait is how long after it the next one begins, usual where there is room.
func (c collection) wait(room api.RepoStat, now censusSign, usual time.Duration) time.Duration {
	switch {
	case room.Free < room.StorageMax/gcTight && now != c.sign:
		return min(usual, max(gcLook, gcShare*c.took))
	case room.Free < room.StorageMax/gcRoom:
		return min(usual, gcSoon)
	}
	return usual
}

// collect removes what is no longer held from the node, now and then.
func (f *Follower) collect(ctx context.Context) error {
	last := collection{ended: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(gcLook, f.c.Follow.GCInterval)):
		}
		began, sign, wait := time.Now(), f.censusSign(), f.c.Follow.GCInterval
		if room, err := f.node.RepoStat(ctx); err == nil {
			wait = last.wait(room, sign, wait)
		}
		if time.Since(last.ended) < wait || f.current(ctx) != nil {
			continue
		}
		n := 0
		for _, err := range f.node.GC(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					f.log.Warn("what is no longer held could not be removed", "err", err)
				}
				break
			}
			n++
		}
		last = collection{time.Now(), time.Since(began), sign}
		f.log.Info("what is no longer held was removed", "blocks", n)
	}
}
