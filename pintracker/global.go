package pintracker

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// peerTimeout bounds one question to one peer.
const peerTimeout = 15 * time.Second

// Remote asks the trackers of other peers.
type Remote interface {
	Status(ctx context.Context, p api.PeerID, c api.Cid) (api.PinInfo, error)
	Statuses(ctx context.Context, p api.PeerID, q api.StatusQuery) (api.StatusPage, error)
	Recover(ctx context.Context, p api.PeerID, c api.Cid) (api.PinInfo, error)
	// RecoverAll is Tracker.RecoverAll on p.
	RecoverAll(ctx context.Context, p api.PeerID, q api.StatusQuery) (api.StatusPage, error)
}

// Global tells how far along pins are on all peers. A peer that cannot be asked is in
// the answers as StatusClusterError, with the reason.
type Global struct {
	members func() []api.Member
	dead    func(api.PeerID) error
	local   *Tracker
	remote  Remote
}

// NewGlobal returns a Global of the peers that members tells, and the own one. A peer
// of which dead, which must be quick, has an error to tell is not asked.
func NewGlobal(members func() []api.Member, dead func(api.PeerID) error, local *Tracker, remote Remote) *Global {
	return &Global{members: members, dead: dead, local: local, remote: remote}
}

// Status tells of c on every peer. Only those that are to hold it are asked; where it
// is in no pinset, all.
func (g *Global) Status(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	return g.each(ctx, c, g.remote.Status, func(ctx context.Context, c api.Cid) (api.PinInfo, error) {
		return g.local.Status(ctx, c), nil
	})
}

// Recover tries c again on every peer where it failed, and tells of it on all.
func (g *Global) Recover(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	return g.each(ctx, c, g.remote.Recover, g.local.Recover)
}

func (g *Global) each(ctx context.Context, c api.Cid,
	remote func(context.Context, api.PeerID, api.Cid) (api.PinInfo, error),
	local func(context.Context, api.Cid) (api.PinInfo, error),
) (api.GlobalPinInfo, error) {
	p, err := g.local.pins.Get(ctx, c)
	unknown := errors.Is(err, api.NotFound)
	if unknown {
		p = api.Pin{Cid: c}
	} else if err != nil {
		return api.GlobalPinInfo{}, err
	}
	all := blank(p)
	var mu sync.Mutex
	var asked errgroup.Group
	for _, m := range g.everybody() {
		if s := expected(p, m.ID); !unknown && s != api.StatusUndefined {
			mu.Lock()
			all.PeerMap[m.ID.String()] = shortOf(p, m.Name, s)
			mu.Unlock()
			continue
		}
		asked.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, peerTimeout, api.Unavailable.Errorf("it did not answer in %s", peerTimeout))
			defer cancel()
			var info api.PinInfo
			var err error
			if m.ID == g.local.self.ID {
				info, err = local(ctx, c)
			} else if err = g.dead(m.ID); err == nil {
				info, err = remote(ctx, m.ID, c)
			}
			short := info.PinInfoShort
			if !unknown && err == nil && (short.Status == api.StatusUnpinned || short.Status == api.StatusRemote) {
				short.Status = api.StatusPinQueued // it has not heard of the pin yet
			}
			if err != nil {
				if late := context.Cause(ctx); late != nil {
					err = late
				}
				short = shortOf(p, m.Name, api.StatusClusterError)
				short.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			all.PeerMap[m.ID.String()] = short
			return nil
		})
	}
	return all, asked.Wait()
}

// List tells of all pins on all peers, in order of CID bytes, as a merge of pages: it
// takes little memory and the first items come with the first pages. With a filter only
// matching peers are in an item, and items without any are left out. It ends with the
// error that yields one, which is of this peer's state only.
func (g *Global) List(ctx context.Context, filter api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
	return g.ListAfter(ctx, filter, api.CidUndef)
}

// ListAfter is List past the CID after.
func (g *Global) ListAfter(ctx context.Context, filter api.TrackerStatus, after api.Cid) iter.Seq2[api.GlobalPinInfo, error] {
	return g.merge(ctx, filter, after, false, g.remote.Statuses, g.local.StatusPage)
}

// RecoverAll does what Recover does for all pins on all peers that need it, and yields
// these. At the end it yields an error for each peer that could not be asked.
func (g *Global) RecoverAll(ctx context.Context) iter.Seq2[api.GlobalPinInfo, error] {
	return g.merge(ctx, recoverable, api.CidUndef, true, g.remote.RecoverAll, g.local.RecoverAll)
}

// everybody lists the members, this peer among them.
func (g *Global) everybody() []api.Member {
	all := g.members()
	if !slices.ContainsFunc(all, func(m api.Member) bool { return m.ID == g.local.self.ID }) {
		all = append(slices.Clip(all), api.Member{ID: g.local.self.ID, Name: g.local.self.Name})
	}
	return all
}

// expected gives the status of p on a peer that need not be asked for it, else
// StatusUndefined.
func expected(p api.Pin, peer api.PeerID) api.TrackerStatus {
	switch {
	case p.Type == api.PinMeta:
		return api.StatusSharded
	case !p.HeldBy(peer):
		return api.StatusRemote
	}
	return api.StatusUndefined
}

// blank is p with no peers yet.
func blank(p api.Pin) api.GlobalPinInfo {
	d := describe(p)
	if d.Allocations == nil {
		d.Allocations = []api.PeerID{}
	}
	if d.Created.IsZero() {
		d.Created = time.Now()
	}
	return api.GlobalPinInfo{Cid: d.Cid, Name: d.Name, Allocations: d.Allocations, Origins: d.Origins,
		Created: d.Created, Metadata: d.Metadata, PeerMap: map[string]api.PinInfoShort{}}
}

// shortOf is status s of p on the peer of that name, as far as the record tells.
func shortOf(p api.Pin, name string, s api.TrackerStatus) api.PinInfoShort {
	short := api.PinInfoShort{PeerName: name, Status: s, Timestamp: p.Timestamp}
	if short.Timestamp.IsZero() {
		short.Timestamp = time.Now()
	}
	return short
}
