package pintracker

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// firstPage is small so that the first items come soon. Pages grow to nextPage,
	// which bounds what a merge holds of each peer, thrice: one page being read, one
	// that waits, one on its way.
	firstPage = 64
	nextPage  = 1000
	// fromPeers are what peers are asked for where everything is wanted: what a pin is
	// on a peer that does not hold it is known here.
	fromPeers = ^(api.StatusRemote | api.StatusSharded)
)

type askRemote = func(context.Context, api.PeerID, api.StatusQuery) (api.StatusPage, error)
type askLocal = func(context.Context, api.StatusQuery) (api.StatusPage, error)

// merge reads the pages of all peers side by side.
func (g *Global) merge(ctx context.Context, filter api.TrackerStatus, after api.Cid, recovers bool, remote askRemote, local askLocal) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var readers errgroup.Group
		defer func() { _ = readers.Wait() }() // they have no errors of their own
		defer cancel()

		m := &merger{ctx: ctx, filter: filter, recovers: recovers, pins: g.local.pins}
		defer m.close()
		for _, peer := range g.everybody() {
			s := &stream{peer: peer.ID, key: peer.ID.String(), name: peer.Name, last: after, pages: make(chan pageOrError, 1)}
			ask := func(ctx context.Context, q api.StatusQuery) (api.StatusPage, error) {
				if err := g.dead(peer.ID); err != nil {
					return api.StatusPage{}, err
				}
				return remote(ctx, peer.ID, q)
			}
			if s.local = peer.ID == g.local.self.ID; s.local {
				ask = local
			}
			q := api.StatusQuery{After: after, Limit: firstPage, Filter: filter, Brief: true}
			if filter == api.StatusUndefined {
				q.Filter = fromPeers
			}
			readers.Go(func() error { return s.read(ctx, ask, q) })
			m.streams = append(m.streams, s)
		}
		if filter == api.StatusUndefined || filter&^fromPeers != 0 {
			m.records.open(g.local.pins.Pins(ctx, after))
		}
		for {
			info, ok, err := m.next()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(api.GlobalPinInfo{}, err)
				return
			}
			if !ok {
				m.yieldUntold(yield)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// merger puts together what peers tell in order of CID bytes.
type merger struct {
	ctx    context.Context
	filter api.TrackerStatus
	// recovers tells that the pages are of a recovery.
	recovers bool
	pins     Pinset
	streams  []*stream
	// records are all pins of the own state, read along where peers that hold no copy
	// are to be told of too.
	records recordCursor
}

func (m *merger) close() {
	m.records.close()
	for _, s := range m.streams {
		s.instead.close()
	}
}

// yieldUntold yields the errors of peers that failed where a recovery had no item to
// tell of it: those are no status that it lists.
func (m *merger) yieldUntold(yield func(api.GlobalPinInfo, error) bool) {
	if !m.recovers {
		return
	}
	for _, s := range m.streams {
		if s.failed != nil && !yield(api.GlobalPinInfo{}, fmt.Errorf("peer %s: %w", s.key, s.failed)) {
			return
		}
	}
}

// next gives the next item that any peer has.
func (m *merger) next() (api.GlobalPinInfo, bool, error) {
	for {
		c, ok, err := m.lowest()
		if err != nil || !ok {
			return api.GlobalPinInfo{}, false, err
		}
		p, err := m.record(c)
		if err != nil {
			return api.GlobalPinInfo{}, false, err
		}
		info := blank(p)
		for _, s := range m.streams {
			if short, ok := m.of(s, p); ok {
				info.PeerMap[s.key] = short
			}
		}
		if len(info.PeerMap) > 0 {
			return info, true, nil
		}
	}
}

// lowest is the next CID in any stream.
func (m *merger) lowest() (c api.Cid, ok bool, err error) {
	see := func(next api.Cid) {
		if !ok || compare(next, c) < 0 {
			c, ok = next, true
		}
	}
	for _, s := range m.streams {
		next, more, err := s.head(m)
		if err != nil {
			return c, false, err
		}
		if more {
			see(next)
		}
	}
	p, more, err := m.records.head()
	if more {
		see(p.Cid)
	}
	return c, ok, err
}

// record gives the pin of c, blank where the own state has none.
func (m *merger) record(c api.Cid) (api.Pin, error) {
	p, ok, err := m.records.head()
	if err == nil && ok && p.Cid == c {
		m.records.skip()
		return p, nil
	}
	p, err = m.pins.Get(m.ctx, c)
	if errors.Is(err, api.NotFound) {
		return api.Pin{Cid: c}, nil
	}
	return p, err
}

// of gives what the peer of s says of p, or what is known without it.
func (m *merger) of(s *stream, p api.Pin) (api.PinInfoShort, bool) {
	if short, ok := s.take(p); ok {
		return short, true
	}
	status, untold := expected(p, s.peer), false
	switch {
	case p.Type == 0:
		status, untold = api.StatusUnpinned, true // the others have not heard yet that it is gone
	case status == api.StatusUndefined:
		status, untold = api.StatusPinQueued, true // the peer has not heard of the pin yet
	}
	if untold && m.filter != api.StatusUndefined || !status.Match(m.filter) {
		return api.PinInfoShort{}, false
	}
	short := shortOf(p, s.name, status)
	short.IPFS, short.IPFSAddresses = s.from.IPFS, s.from.IPFSAddresses
	return short, true
}

// stream is what one peer tells.
type stream struct {
	peer  api.PeerID
	key   string // its text
	name  string
	local bool
	pages chan pageOrError

	items  []api.PinInfo    // left of the page being read
	from   api.PinInfoShort // who the peer is
	last   api.Cid          // of the last item taken
	failed error
	// instead are the pins that the peer is to hold, once it has failed.
	instead recordCursor
}

type pageOrError struct {
	page api.StatusPage
	err  error
}

// read asks for page after page, one ahead of who takes them.
func (s *stream) read(ctx context.Context, ask askLocal, q api.StatusQuery) error {
	defer close(s.pages)
	for {
		page, err := askPage(ctx, ask, q)
		if err == nil && page.More && compare(page.Last, q.After) <= 0 {
			err = api.Internal.Errorf("the peer's pages do not go on")
		}
		select {
		case s.pages <- pageOrError{page, err}:
		case <-ctx.Done():
			return nil
		}
		if err != nil || !page.More {
			return nil
		}
		q.After, q.Limit = page.Last, min(4*q.Limit, nextPage)
	}
}

func askPage(ctx context.Context, ask askLocal, q api.StatusQuery) (api.StatusPage, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	return ask(ctx, q)
}

// head is the CID of the next item. It waits for the peer.
func (s *stream) head(m *merger) (api.Cid, bool, error) {
	for len(s.items) == 0 && s.failed == nil {
		p, ok := <-s.pages
		if !ok {
			return api.CidUndef, false, nil
		}
		if s.failed = p.err; s.failed == nil {
			s.failed = inOrder(s.last, p.page.Items)
		}
		if s.failed == nil {
			s.items, s.from = p.page.Items, p.page.From
		}
	}
	if s.failed == nil {
		return s.items[0].Cid, true, nil
	}
	if s.local {
		return api.CidUndef, false, s.failed
	}
	if !api.StatusClusterError.Match(m.filter) {
		return api.CidUndef, false, nil
	}
	s.instead.open(m.pins.Allocated(m.ctx, s.peer, s.last))
	p, ok, err := s.instead.head()
	return p.Cid, ok, err
}

// take takes the head if it is about p.
func (s *stream) take(p api.Pin) (api.PinInfoShort, bool) {
	if s.failed != nil {
		if next, ok, err := s.instead.head(); err != nil || !ok || next.Cid != p.Cid {
			return api.PinInfoShort{}, false
		}
		s.instead.skip()
		short := shortOf(p, s.name, api.StatusClusterError)
		short.Error = s.failed.Error()
		return short, true
	}
	if len(s.items) == 0 || s.items[0].Cid != p.Cid {
		return api.PinInfoShort{}, false
	}
	short := s.items[0].PinInfoShort
	s.items, s.last = s.items[1:], p.Cid
	short = of(s.from, short)
	if short.Timestamp.IsZero() {
		short.Timestamp = p.Timestamp
	}
	return short, true
}

// inOrder checks what a merge relies on.
func inOrder(last api.Cid, items []api.PinInfo) error {
	for _, item := range items {
		if compare(item.Cid, last) <= 0 {
			return api.Internal.Errorf("the peer's items are out of order")
		}
		last = item.Cid
	}
	return nil
}

// recordCursor reads a list of pins with a look ahead. Its zero value is empty.
type recordCursor struct {
	next func() (api.Pin, error, bool)
	stop func()
	pin  api.Pin
	err  error
	more bool
}

// open starts reading pins, unless it has been.
func (r *recordCursor) open(pins iter.Seq2[api.Pin, error]) {
	if r.next == nil {
		r.next, r.stop = iter.Pull2(pins)
		r.skip()
	}
}

func (r *recordCursor) head() (api.Pin, bool, error) { return r.pin, r.more && r.err == nil, r.err }

func (r *recordCursor) skip() { r.pin, r.err, r.more = r.next() }

func (r *recordCursor) close() {
	if r.stop != nil {
		r.stop()
	}
}
