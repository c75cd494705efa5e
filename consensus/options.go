package consensus

import (
	"cmp"
	"time"
)

// Options tune a Consensus; the zero value of a field means its default.
type Options struct {
	// HeartbeatTimeout is how long a peer goes without its leader before it stands for
	// election; 1.5s. Heartbeats wait behind the receiver's disk, so below 1s a slow
	// disk deposes leaders.
	HeartbeatTimeout time.Duration `json:"heartbeat_timeout"`
	// ElectionTimeout is how long an election may last, at least HeartbeatTimeout; 1.5s.
	ElectionTimeout time.Duration `json:"election_timeout"`
	// LeaderLeaseTimeout is how long a leader that hears no quorum goes on, at most
	// HeartbeatTimeout; 1.2s.
	LeaderLeaseTimeout time.Duration `json:"leader_lease_timeout"`
	// CommitTimeout is how long an idle leader waits before it tells its commit index
	// again; 50ms.
	CommitTimeout time.Duration `json:"commit_timeout"`
	// NetworkTimeout bounds one call between peers; 10s. A snapshot gets as much for
	// each 256 KiB.
	NetworkTimeout time.Duration `json:"network_timeout"`
	// MaxAppendEntries is how many entries go to a peer in one call; 256.
	MaxAppendEntries int `json:"max_append_entries"`

	// Voters is how many full peers vote, at most; 5. An even number rounds down.
	Voters int `json:"voters"`
	// ReplaceAfter is how long a voter is silent before another takes its place; 15m.
	ReplaceAfter time.Duration `json:"replace_after"`
	// VoterInterval is between the leader's looks at the voters; 2s.
	VoterInterval time.Duration `json:"voter_interval"`

	// LogBytes bounds the log, in bytes of entries: half of it makes a snapshot due, and
	// half is kept past one for peers that lag; 12 MiB.
	LogBytes int64 `json:"log_bytes"`
	// CacheBytes of the newest entries are kept in memory; 2 MiB.
	CacheBytes int64 `json:"log_cache_bytes"`
	// SnapshotThreshold is after how many entries a snapshot is due, if LogBytes does
	// not make it due before; 65536.
	SnapshotThreshold uint64 `json:"snapshot_threshold"`
	// TrailingLogs is how many entries are kept past a snapshot, within LogBytes; 10240.
	TrailingLogs uint64 `json:"trailing_logs"`
	// StallLimit is how long a write to the log may take before the peer gives up; 5s.
	StallLimit time.Duration `json:"stall_limit"`

	fastHeartbeats bool // tests only: hashicorp/raft's fast path, to see trap 1
	quietCommits   bool // tests only: no nudges
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	o.HeartbeatTimeout = cmp.Or(o.HeartbeatTimeout, 1500*time.Millisecond)
	o.ElectionTimeout = cmp.Or(o.ElectionTimeout, max(1500*time.Millisecond, o.HeartbeatTimeout))
	o.LeaderLeaseTimeout = cmp.Or(o.LeaderLeaseTimeout, min(1200*time.Millisecond, o.HeartbeatTimeout*4/5))
	o.CommitTimeout = cmp.Or(o.CommitTimeout, 50*time.Millisecond)
	o.NetworkTimeout = cmp.Or(o.NetworkTimeout, 10*time.Second)
	o.MaxAppendEntries = cmp.Or(o.MaxAppendEntries, 256)
	o.Voters = cmp.Or(o.Voters, 5)
	o.ReplaceAfter = cmp.Or(o.ReplaceAfter, 15*time.Minute)
	o.VoterInterval = cmp.Or(o.VoterInterval, 2*time.Second)
	o.LogBytes = cmp.Or(o.LogBytes, 12<<20)
	o.CacheBytes = cmp.Or(o.CacheBytes, 2<<20)
	o.SnapshotThreshold = cmp.Or(o.SnapshotThreshold, 65536)
	o.TrailingLogs = cmp.Or(o.TrailingLogs, 10240)
	o.StallLimit = cmp.Or(o.StallLimit, 5*time.Second)
	return o
}
