package api

import "time"

// PeerHealth is what metrics and Raft tell of one full peer.
type PeerHealth struct {
	ID PeerID
	// Alive is false for a peer that neither metrics nor Raft have heard for the life of
	// a ping. Since tells since when it has been so, or not: at the earliest since this
	// process started.
	Alive bool
	Since time.Time
	// Died is when a peer that lives now was last lost, zero for one that never was.
	Died time.Time

	// Measured tells whether the peer's metrics below are known and not expired.
	Measured bool
	// Index is the log index that its state had reached when it was measured: what later
	// entries give to it is not yet off Free.
	Index uint64
	Free  int64 // bytes left for pins, net of what running adds have reserved
	// Pending is how many pins wait there.
	Pending  int
	Tags     map[string]string
	ReadOnly bool          // to be given no more pins
	Skew     time.Duration // its wall clock less ours
}

// RepairStatus tells what becomes of pins whose peers are gone, as the leader knows it:
// it alone repairs. Running is false, and the rest zero, where it does not lead yet.
type RepairStatus struct {
	Running bool `json:"running" cbor:"1,keyasint,omitempty"`
	// Paused says why nothing is placed anew although peers are dead; "" where it is not.
	Paused string `json:"paused,omitempty" cbor:"2,keyasint,omitempty"`
	// Below is how many pins have fewer living holders than their minimum, without those
	// that are Covered.
	Below uint64 `json:"below" cbor:"3,keyasint,omitempty"`
	// Cause says why most of those are below it still, "" where there are none.
	Cause string `json:"cause,omitempty" cbor:"4,keyasint,omitempty"`
	// Placed is how many pins were given other holders since this peer leads.
	Placed uint64 `json:"placed" cbor:"5,keyasint,omitempty"`
	// Moving is how many pins have a holder that leaves once others have confirmed theirs.
	Moving uint64 `json:"moving" cbor:"6,keyasint,omitempty"`
	// Done is how many holders have left since this peer leads.
	Done uint64 `json:"done" cbor:"7,keyasint,omitempty"`
	// LastError is the last failure to place a pin anew, "" without one.
	LastError string `json:"last_error,omitempty" cbor:"8,keyasint,omitempty"`
	// Covered is how many pins would be below their minimum and be given other holders, but
	// that followers proved copies of them: 0 without followers.count_copies.
	Covered uint64 `json:"covered,omitempty" cbor:"9,keyasint,omitempty"`
}
