package api

// Placement says where the blocks of an add go before its CID is known.
type Placement struct {
	Peers []PeerID // the destinations, sorted
	Min   int      // how many of them must have everything for the add to succeed
}

// Lagging is the kind of an error that tells of a success: the change is committed,
// at the index that its text names, but this peer's state is not there yet.
const Lagging Kind = "committed but not visible here yet"
