package config

import (
	"cmp"
	"time"
)

// Followers is the section of what a full peer does for followers.
type Followers struct {
	// Disable serves no followers: no follow link is made, and those there are get nothing
	// from this peer.
	Disable bool `json:"disable"`
	// Hold is what follow links ask followers to hold: all, or allocated; all. A follower's
	// owner may choose otherwise.
	Hold string `json:"hold"`
	// CountCopies has copies that followers prove make up for copies that peers are missing:
	// pins of a dead peer stay as they are while there are enough of both, and one at a peer;
	// false. It is the leader's setting that counts: give it to all peers.
	CountCopies bool `json:"count_copies"`
	// MaxConnections bounds the followers connected with this peer; others are told whom
	// else to ask; 32.
	MaxConnections int `json:"max_connections"`
	// MaxBandwidth bounds what followers are given of the pinset, in bytes a second; 16 MiB.
	// Content is bounded by embedded.max_bandwidth.
	MaxBandwidth uint64 `json:"max_bandwidth"`
	// MaxAdmitted bounds the followers that may fetch content from this peer at a time; 1024.
	MaxAdmitted int `json:"max_admitted"`
	// AskInterval is between two questions to a connected follower how far it is; 2m.
	AskInterval time.Duration `json:"ask_interval"`
	// ChallengeInterval is between two challenges of a connected follower to prove a copy; 10m.
	ChallengeInterval time.Duration `json:"challenge_interval"`
}

func (f Followers) withDefaults() Followers {
	f.Hold = cmp.Or(f.Hold, HoldAll)
	f.MaxConnections = cmp.Or(f.MaxConnections, 32)
	f.MaxBandwidth = cmp.Or(f.MaxBandwidth, 16*mib)
	f.MaxAdmitted = cmp.Or(f.MaxAdmitted, 1024)
	f.AskInterval = cmp.Or(f.AskInterval, 2*time.Minute)
	f.ChallengeInterval = cmp.Or(f.ChallengeInterval, 10*time.Minute)
	return f
}
