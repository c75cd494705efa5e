package api

import (
	"strings"
	"time"
)

// PinFilter chooses pins by what their records say; the zero value is all. All that is
// set must hold.
type PinFilter struct {
	Name         string // exactly this
	NamePrefix   string
	NameContains string
	Metadata     map[string]string // pairs that the pin has, among others
	Peer         PeerID            // the pin is HeldBy this one
	Since        time.Time         // created then or later
	Before       time.Time         // created before
}

// Match tells whether p passes.
func (f PinFilter) Match(p Pin) bool {
	return f.describes(p.Name, p.Metadata, p.Timestamp) && (f.Peer == "" || p.HeldBy(f.Peer))
}

// MatchInfo tells whether a status passes; the peer is one that has it, or is to.
func (f PinFilter) MatchInfo(g GlobalPinInfo) bool {
	if !f.describes(g.Name, g.Metadata, g.Created) {
		return false
	}
	if f.Peer == "" {
		return true
	}
	p, ok := g.PeerMap[f.Peer.String()]
	return ok && p.Status&(StatusRemote|StatusSharded|StatusUnpinned) == 0
}

// All tells whether everything passes.
func (f PinFilter) All() bool {
	return f.Name == "" && f.NamePrefix == "" && f.NameContains == "" && len(f.Metadata) == 0 && f.Peer == "" && f.Since.IsZero() && f.Before.IsZero()
}

func (f PinFilter) describes(name string, metadata map[string]string, created time.Time) bool {
	for k, v := range f.Metadata {
		if got, ok := metadata[k]; !ok || got != v {
			return false
		}
	}
	return (f.Name == "" || name == f.Name) && strings.HasPrefix(name, f.NamePrefix) && strings.Contains(name, f.NameContains) &&
		(f.Since.IsZero() || !created.Before(f.Since)) && (f.Before.IsZero() || created.Before(f.Before))
}
