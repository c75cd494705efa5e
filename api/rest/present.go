package rest

import (
	"net/http"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// The incumbent shows an absent list or map as null in one place and as empty in
// another, and times in the server's zone. Clients were written against that.

// stored shows a record as read from the pinset.
func stored(p api.Pin) api.Pin {
	p = shown(p)
	p.UserAllocations = nil
	if len(p.Metadata) == 0 {
		p.Metadata = nil
	}
	if p.Origins == nil {
		p.Origins = []api.Multiaddr{}
	}
	return p
}

// written shows a record that was just written.
func written(p api.Pin) api.Pin {
	p = shown(p)
	if p.Metadata == nil {
		p.Metadata = map[string]string{}
	}
	if len(p.Origins) == 0 {
		p.Origins = nil
	}
	return p
}

func shown(p api.Pin) api.Pin {
	if p.Allocations == nil {
		p.Allocations = []api.PeerID{}
	}
	p.Mode = api.PinRecursive
	if p.MaxDepth == 0 {
		p.Mode = api.PinDirect
	}
	p.Timestamp = local(p.Timestamp)
	p.ExpireAt = local(p.ExpireAt)
	return p
}

// local puts t in the server's zone. No time at all stays in UTC.
func local(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Local()
}

// shownInfo shows a status. Of a CID that is not in the pinset (all peers say
// unpinned) nothing is known but that it was asked for now.
func shownInfo(g api.GlobalPinInfo, now time.Time) api.GlobalPinInfo {
	known := false
	for _, p := range g.PeerMap {
		known = known || p.Status != api.StatusUnpinned
	}
	if g.Allocations == nil {
		g.Allocations = []api.PeerID{}
	}
	if g.PeerMap == nil {
		g.PeerMap = map[string]api.PinInfoShort{}
	}
	if known && g.Origins == nil {
		g.Origins = []api.Multiaddr{}
	}
	if len(g.Metadata) == 0 {
		g.Metadata = nil
	}
	if !known && g.Created.IsZero() {
		g.Created = now
	}
	g.Created = local(g.Created)
	return g
}

func writePin(w http.ResponseWriter, p api.Pin) error {
	line, err := new(api.Encoder).AppendPin(make([]byte, 0, 1024), &p)
	if err != nil {
		return err
	}
	web.WriteLine(w, append(line, '\n'))
	return nil
}
