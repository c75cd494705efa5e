package api

// NewsQuery asks a tracker what became of its operations since the last answer.
type NewsQuery struct {
	Epoch uint64 `cbor:"1,keyasint,omitempty"` // that of the last answer, 0 at first
	After uint64 `cbor:"2,keyasint,omitempty"` // its Last
}

// NewsPage answers a NewsQuery: statuses, as they were when they changed, oldest first.
type NewsPage struct {
	Epoch uint64 `cbor:"1,keyasint"` // of the tracker's run; another one has forgotten
	Last  uint64 `cbor:"2,keyasint"` // what the next query asks for more than
	// Lost tells that there may have been changes before Items that are not told: it is
	// the first answer, the tracker was started anew, or the asker was slow.
	Lost  bool      `cbor:"3,keyasint,omitempty"`
	Items []PinInfo `cbor:"4,keyasint,omitempty"` // Cid, Peer, Status and what goes with that
}
