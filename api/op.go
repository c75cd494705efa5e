package api

// OpType says what an Op changes.
type OpType uint8

// The changes of the replicated state. Numbers are part of the log's format.
const (
	OpPin     OpType = 1 // put Pin
	OpUnpin   OpType = 2 // delete the pin of Cid
	OpSession OpType = 3 // open Session of Peer, ending its earlier one
	OpJoin    OpType = 4 // admit Member, or renew it; uses up Credential
	OpRemove  OpType = 5 // remove member Peer and end its session
	OpRevoke  OpType = 6 // use up Credential, a token's (see RevokedToken), so that no door takes it

	OpOweKey   OpType = 7 // the cluster's key is to be renewed: a removed peer knows it
	OpRenewKey OpType = 8 // Key is the cluster's from now on; none knows it that was removed before
)

// Op is one change of the replicated state as the leader decided it: applying it
// computes nothing that could differ between peers.
type Op struct {
	Type OpType `cbor:"1,keyasint"`
	Pin  *Pin   `cbor:"2,keyasint,omitempty"`
	Cid  Cid    `cbor:"3,keyasint,omitempty"`
	// Revision is that of the record on which an OpPin or OpUnpin was decided, 0 where
	// there was none. If the record has moved on, the change is skipped as stale.
	Revision uint64 `cbor:"4,keyasint,omitempty"`

	// Peer, Session, Seq and Acked tie the change to a request, so that a retry is
	// applied once: the receiving peer, its session (above its earlier ones), the request's
	// number in it (from 1), and the number below which all have been answered.
	// A change that the leader makes by itself has Session 0.
	Peer    PeerID `cbor:"5,keyasint,omitempty"`
	Session uint64 `cbor:"6,keyasint,omitempty"`
	Seq     uint64 `cbor:"7,keyasint,omitempty"`
	Acked   uint64 `cbor:"8,keyasint,omitempty"`

	Member     *Member `cbor:"9,keyasint,omitempty"`
	Credential []byte  `cbor:"10,keyasint,omitempty"`
	// Expires is when Credential ends and Time when the leader decided, both Unix
	// seconds: used-up credentials that ended before Time are forgotten.
	Expires int64 `cbor:"11,keyasint,omitempty"`
	Time    int64 `cbor:"12,keyasint,omitempty"`

	Key *ClusterKey `cbor:"13,keyasint,omitempty"`
	// KeyNumber is that of the cluster's key under which an OpJoin was decided: under
	// another it is skipped as stale where it would admit somebody.
	KeyNumber uint64 `cbor:"14,keyasint,omitempty"`
}

// OpStatus says what became of an Op.
type OpStatus uint8

// What becomes of an Op. Only Applied changed anything.
const (
	OpApplied   OpStatus = 1 // applied by this entry
	OpRepeated  OpStatus = 2 // the same request was applied before, at Index
	OpStale     OpStatus = 3 // the record had moved on: decide again
	OpNoSession OpStatus = 4 // the session has ended
	OpAnswered  OpStatus = 5 // the number is below Acked: its outcome is no longer kept
	OpUsed      OpStatus = 6 // the credential was used by another peer, or the peer was removed
)

// Outcome is what became of an Op, and the log index at which it did.
type Outcome struct {
	Status OpStatus `cbor:"1,keyasint"`
	Index  uint64   `cbor:"2,keyasint"`
}

// RequestType says what a Request asks for.
type RequestType uint8

// The requests that peers forward to the leader's pinner.
const (
	RequestPin   RequestType = 1
	RequestUnpin RequestType = 2
)

// Request is a user's wish, not yet decided.
type Request struct {
	Type RequestType `cbor:"1,keyasint"`
	// Pin holds the CID and, to pin, the options as the user gave them. Allocations
	// that are set (an add knows them) are kept.
	Pin Pin    `cbor:"2,keyasint"`
	Seq uint64 `cbor:"3,keyasint"`
	// Drop is the ID of a request in the record (see PinRequest), for requests of the
	// Pinning Service API: to unpin, the one that goes; to pin, the one that the one in
	// Pin.Requests replaces.
	Drop *string `cbor:"4,keyasint,omitempty"`
}

// Batch is what one peer forwards to the leader in one call.
type Batch struct {
	Session  uint64    `cbor:"1,keyasint"`
	Acked    uint64    `cbor:"2,keyasint"`
	Requests []Request `cbor:"3,keyasint"`
}

// Result answers one Request: the record as it now stands (for an unpin, as it was)
// and the log index of the change, or what went wrong.
type Result struct {
	Pin   Pin    `cbor:"1,keyasint"`
	Index uint64 `cbor:"2,keyasint,omitempty"`
	Fault *Fault `cbor:"3,keyasint,omitempty"`
}

// Committed answers a Batch, in order.
type Committed struct {
	Results []Result `cbor:"1,keyasint"`
}

// JoinRequest is what a new peer sends to any member.
type JoinRequest struct {
	// Credential is the signed one-time credential of the token; empty where the
	// cluster's join policy lets the secret alone admit a peer.
	Credential []byte      `cbor:"1,keyasint,omitempty"`
	DataID     PeerID      `cbor:"2,keyasint"`
	Name       string      `cbor:"3,keyasint,omitempty"`
	Addresses  []Multiaddr `cbor:"4,keyasint,omitempty"`
	// ID is the joiner: set by the member that forwards the request to the leader,
	// from the connection it came over.
	ID PeerID `cbor:"5,keyasint,omitempty"`
	// DataAddresses are where its data host listens.
	DataAddresses []Multiaddr `cbor:"6,keyasint,omitempty"`
}

// JoinAnswer makes the joiner a member: the cluster's private key, by which it can
// certify others, its own certificate, and the members to connect to.
type JoinAnswer struct {
	ClusterKey  []byte   `cbor:"1,keyasint"`
	Incarnation uint64   `cbor:"2,keyasint"`
	Certificate []byte   `cbor:"3,keyasint"`
	Members     []Member `cbor:"4,keyasint"`
	Index       uint64   `cbor:"5,keyasint"` // log index of the joining
}

// Standing is what a member knows of the peer that asks it.
type Standing struct {
	// Removed tells that the peer was a member and is none any more. The leader has
	// confirmed it.
	Removed bool   `cbor:"1,keyasint,omitempty"`
	Index   uint64 `cbor:"2,keyasint"` // log index at which that is so
}
