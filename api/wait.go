package api

// Waited tells what came of a wait for a pin.
type Waited struct {
	Pinned  bool                    `json:"pinned"` // on all peers that are to hold it; else the time was up
	PeerMap map[string]PinInfoShort `json:"peer_map"`
}

// WaitedPin answers a pin: the record and, where it was waited for, what came of that.
type WaitedPin struct {
	Pin
	Wait *Waited `json:"wait,omitempty"`
}
