package api

import "time"

// FollowLink is what makes followers, in two forms.
type FollowLink struct {
	Link string `json:"link"` // one word
	// Document says the same in JSON; it may be served over HTTP.
	Document any `json:"document"`
}

// FollowerStatus is what a follower tells of itself. Nothing in it is proven.
type FollowerStatus struct {
	ID      PeerID `json:"id" cbor:"1,keyasint"`
	Name    string `json:"peername" cbor:"2,keyasint,omitempty"`
	Version string `json:"version" cbor:"3,keyasint,omitempty"`
	// Index is the log index that its pinset stands at, 0 while it is fetched, and Digest
	// that of the pinset there, in hexadecimal.
	Index  uint64 `json:"index" cbor:"4,keyasint,omitempty"`
	Digest string `json:"digest,omitempty" cbor:"5,keyasint,omitempty"`
	// Latest is the highest index that it has heard a member sign, at Heard.
	Latest uint64    `json:"latest" cbor:"6,keyasint,omitempty"`
	Heard  time.Time `json:"heard,omitzero" cbor:"7,keyasint,omitzero"`
	// Stopped says why it goes no further, "" where it does.
	Stopped string `json:"stopped,omitempty" cbor:"8,keyasint,omitempty"`
	// StoppedFor is what kind of reason that is, and so what makes it go on; full peers are not told.
	StoppedFor StopKind `json:"stopped_for,omitempty" cbor:"24,keyasint,omitempty"`
	// Neighbours is how many others it is connected with.
	Neighbours int `json:"neighbours" cbor:"9,keyasint,omitempty"`

	Hold     string `json:"hold" cbor:"10,keyasint,omitempty"` // all, allocated or share
	Capacity uint64 `json:"capacity,omitempty" cbor:"11,keyasint,omitempty"`
	// Known counts the pins of its pinset, Wanted those that it is to hold, Pinned those of
	// them that it has whole, and Failed those that it could not get so far.
	Known  uint64 `json:"known" cbor:"12,keyasint,omitempty"`
	Wanted uint64 `json:"wanted" cbor:"13,keyasint,omitempty"`
	Pinned uint64 `json:"pinned" cbor:"14,keyasint,omitempty"`
	Failed uint64 `json:"failed" cbor:"15,keyasint,omitempty"`
	// Bytes is what its node holds, Free what it may still take.
	Bytes uint64 `json:"bytes" cbor:"16,keyasint,omitempty"`
	Free  uint64 `json:"free" cbor:"17,keyasint,omitempty"`
	// Rate is how many bytes of content arrive in a second now.
	Rate uint64 `json:"rate" cbor:"18,keyasint,omitempty"`
	// Claim has a bit set for each range of pins that it holds whole; see package feed.
	Claim []byte `json:"-" cbor:"19,keyasint,omitempty"`
	// Trouble is the cause of what failed, the most frequent one.
	Trouble Cause `json:"trouble,omitempty" cbor:"20,keyasint,omitempty"`
	// Total counts the pins of the pinset while it is fetched, of which Known are here, and
	// KnownRate those that come in a second.
	Total     uint64 `json:"total,omitempty" cbor:"21,keyasint,omitempty"`
	KnownRate uint64 `json:"known_rate,omitempty" cbor:"22,keyasint,omitempty"`
	// Choosing tells that it is yet to choose what it holds: Wanted counts for nothing.
	Choosing bool `json:"choosing,omitempty" cbor:"23,keyasint,omitempty"`
	// Astray tells that its neighbours have lost touch with the cluster themselves: where
	// the log ends is not known.
	Astray bool `json:"astray,omitempty" cbor:"25,keyasint,omitempty"`
	// TooLarge tells of pins that its share leaves out for their size, nil where there are
	// none; full peers are not told.
	TooLarge *LargePins `json:"too_large,omitempty" cbor:"-"`
}

// LargePins are pins that are larger than a share may be.
type LargePins struct {
	Pins  uint64 `json:"pins"`
	Least uint64 `json:"least"` // bytes of the smallest
	Room  uint64 `json:"room"`  // bytes that the share may have
}

// StopKind is why a follower goes no further.
type StopKind string

const (
	// StopContradiction: members signed what cannot all be true. Its owner decides to resume.
	StopContradiction StopKind = "contradiction"
	// StopKey: two keys are signed as the cluster's next one. A new link says which it is.
	StopKey StopKind = "key"
	// StopAnew: the cluster was started anew. It takes a new link.
	StopAnew StopKind = "anew"
)

// Follower is a follower as a full peer sees it.
type Follower struct {
	FollowerStatus
	Addresses []Multiaddr `json:"addresses" cbor:"30,keyasint,omitempty"`
	// Connected tells whether it is connected with a full peer now.
	Connected bool `json:"connected" cbor:"31,keyasint,omitempty"`
	// Agrees tells whether its digest is that of the cluster's pinset at its index; nil
	// where the peers cannot tell.
	Agrees *bool `json:"agrees,omitempty" cbor:"32,keyasint,omitempty"`
	// Proven, Lied and Unanswered count the challenges to show blocks of a pin that it says
	// it has.
	Proven     uint64 `json:"proven" cbor:"33,keyasint,omitempty"`
	Lied       uint64 `json:"lied" cbor:"34,keyasint,omitempty"`
	Unanswered uint64 `json:"unanswered" cbor:"35,keyasint,omitempty"`
	// Found is the percentage of the pins it claims which it was lately found to have; nil
	// where nobody looked. Its claims count so much in the table of coverage.
	Found *uint8 `json:"found_percent,omitempty" cbor:"39,keyasint,omitempty"`
	// Admitted tells whether it may fetch content from full peers.
	Admitted bool `json:"admitted" cbor:"36,keyasint,omitempty"`
	// Asked is when it last answered.
	Asked time.Time `json:"asked,omitzero" cbor:"37,keyasint,omitzero"`
	// Error is why it did not answer the last question.
	Error string `json:"error,omitempty" cbor:"38,keyasint,omitempty"`
}

// FollowerQuery asks a full peer for the followers that it knows, by the bytes of IDs.
type FollowerQuery struct {
	After PeerID `cbor:"1,keyasint,omitempty"` // those past this one
	Limit int    `cbor:"2,keyasint,omitempty"` // at most so many
	Only  PeerID `cbor:"3,keyasint,omitempty"` // this one alone, whatever else is asked for; "": all
}

// ClaimNews is what a full peer tells another of what followers claim: what it heard
// itself since the last time.
type ClaimNews struct {
	Claims []FollowerClaim `cbor:"1,keyasint,omitempty"`
}

// FollowerClaim is what a full peer knows of one follower's claim.
type FollowerClaim struct {
	Peer PeerID `cbor:"1,keyasint"`
	// Claim has a bit set for each range of pins that it says it holds whole; see package
	// feed, which also says what a Standing is.
	Claim    []byte    `cbor:"2,keyasint,omitempty"`
	At       time.Time `cbor:"3,keyasint"`
	Standing int8      `cbor:"4,keyasint,omitempty"`
	// Held is the percentage of the pins it claims which it was found to have at Looked, a
	// zero time where nobody looked.
	Held   uint8     `cbor:"5,keyasint,omitempty"`
	Looked time.Time `cbor:"6,keyasint,omitzero"`
}

// ClaimsHeard is what the other answers to ClaimNews.
type ClaimsHeard struct {
	// Life is another number after each start: it has forgotten what it was told before.
	Life uint64 `cbor:"1,keyasint"`
}

// CopyQuery asks for followers that prove a copy of a pin: so many are enough.
type CopyQuery struct {
	Cid  Cid `cbor:"1,keyasint"`
	Need int `cbor:"2,keyasint"`
}

// Question is what has a follower prove a copy of a pin, with the answer of who has one;
// see package feed. It is empty where there is no question to ask.
type Question struct {
	Nonce  []byte   `cbor:"1,keyasint,omitempty"`
	Cids   []Cid    `cbor:"2,keyasint,omitempty"`
	Hashes [][]byte `cbor:"3,keyasint,omitempty"`
}
