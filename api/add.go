package api

import (
	"os"
	"time"
)

// AddParams say how files become a DAG, and how it is pinned.
type AddParams struct {
	PinOptions
	Local          bool // blocks go only to the receiving peer
	Recursive      bool // a hint for clients
	Hidden         bool // a hint for clients
	Wrap           bool // wrap in a directory
	Shard          bool
	Progress       bool // send lines with bytes read so far
	NoPin          bool // store blocks only
	NoCopy         bool
	StreamChannels bool   // send lines as they come, not one array at the end
	Format         string // "unixfs" or "car"; "" is unixfs
	Layout         string // "balanced" or "trickle"; "" is balanced
	Chunker        string // "size-N", "rabin-min-avg-max", "buzhash"
	RawLeaves      bool
	HashFun        string // a multihash name
	CidVersion     int
	Inline         bool // blocks of up to InlineLimit bytes are kept in CIDs themselves
	InlineLimit    int  // at most 128
	// What UnixFS keeps of files, directories and symlinks: their own modes and times, or
	// those given here for all, which come first. A mode of 0 and a zero time are none.
	PreserveMode  bool
	PreserveMtime bool
	FileMode      os.FileMode
	FileMtime     time.Time
	// Size is what the caller expects to send, in bytes; 0 unknown.
	Size uint64
}

// DefaultAddParams are the parameters of an add that names none.
func DefaultAddParams() AddParams {
	return AddParams{StreamChannels: true, Layout: "balanced", Chunker: "size-262144", HashFun: "sha2-256", InlineLimit: 32}
}

// AddedOutput is one line of an add's answer.
type AddedOutput struct {
	Name        string   `json:"name"`
	Cid         Cid      `json:"cid"`
	Bytes       uint64   `json:"bytes,omitempty"`
	Size        uint64   `json:"size,omitempty"`
	Allocations []PeerID `json:"allocations,omitempty"`
	// Wait, on one more line at the end where the add waits for its pin, tells what came
	// of that.
	Wait *Waited `json:"wait,omitempty"`
}

// RepoGC is what a collection on one peer removed.
type RepoGC struct {
	Peer     PeerID      `json:"peer"`
	PeerName string      `json:"peername"`
	Keys     []RepoGCKey `json:"keys"`
	Error    string      `json:"error,omitempty"`
}

// RepoGCKey is one removed block, or why it could not be removed.
type RepoGCKey struct {
	Key   Cid    `json:"key"`
	Error string `json:"error,omitempty"`
}

// GlobalRepoGC is what a collection on all peers removed.
type GlobalRepoGC struct {
	PeerMap map[string]RepoGC `json:"peer_map"`
}
