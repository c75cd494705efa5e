package api

import "time"

// The types of events.
const (
	EventPin      = "pin"       // a pin was committed: a new one, or other options
	EventUnpin    = "unpin"     // it was taken out of the pinset
	EventRepair   = "repair"    // a pin has other holders: those in leaving go once the others have their copies
	EventProgress = "progress"  // bytes of a pin are arriving on a peer
	EventPinned   = "pinned"    // a pin is there, on a peer
	EventUnpinned = "unpinned"  // what was unpinned is gone from a peer
	EventFailed   = "failed"    // a pin or unpin failed on a peer, and is tried again
	EventPeerUp   = "peer_up"   // a peer is heard again
	EventPeerDown = "peer_down" // a peer is heard no more
	EventGap      = "gap"       // events were lost: of Peer where it is set, else of all
)

// EventTypes are all of them.
var EventTypes = []string{EventPin, EventUnpin, EventRepair, EventProgress, EventPinned, EventUnpinned, EventFailed, EventPeerUp, EventPeerDown, EventGap}

// Event is something that happened. Which fields it has follows from its type.
type Event struct {
	// Index is that of the log entry, or of the last one when it happened.
	Index       uint64        `json:"index"`
	Type        string        `json:"type"`
	Time        time.Time     `json:"time"`
	Cid         Cid           `json:"cid,omitzero"`
	Name        string        `json:"name,omitempty"`
	Allocations []PeerID      `json:"allocations,omitempty"`
	Leaving     []PeerID      `json:"leaving,omitempty"`
	Peer        PeerID        `json:"peer,omitempty"`
	Status      TrackerStatus `json:"status,omitzero"`
	Cause       Cause         `json:"cause,omitempty"`
	Error       string        `json:"error,omitempty"`
	Attempts    int           `json:"attempts,omitempty"`
	NextTry     time.Time     `json:"next_try,omitzero"`
	Bytes       uint64        `json:"bytes,omitempty"` // of the DAG on the peer so far
	Rate        uint64        `json:"rate,omitempty"`  // bytes/s arriving
}
