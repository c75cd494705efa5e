package api

// PeerLinks are whom a peer is connected with.
type PeerLinks struct {
	// Cluster are the peers of its cluster host.
	Cluster []PeerID `cbor:"1,keyasint,omitempty"`
	// IPFS is its IPFS node, absent where that does not answer, and Swarm the node's peers.
	IPFS  PeerID   `cbor:"2,keyasint,omitempty"`
	Swarm []PeerID `cbor:"3,keyasint,omitempty"`
}

// ConnectGraph tells who is connected with whom. Its keys are peer IDs; those of
// IPFSLinks are IPFS nodes, and of the rest peers of the cluster. A peer that did not
// answer has no links, and no entry beside them.
type ConnectGraph struct {
	ClusterID         PeerID              `json:"cluster_id"` // the peer that asked the others
	IDToPeerName      map[string]string   `json:"id_to_peername"`
	IPFSLinks         map[string][]PeerID `json:"ipfs_links"`
	ClusterLinks      map[string][]PeerID `json:"cluster_links"`
	ClusterTrustLinks map[string]bool     `json:"cluster_trust_links"`
	ClusterToIPFS     map[string]PeerID   `json:"cluster_to_ipfs"`
}

// Bandwidth is what one protocol has carried: bytes since the start, and bytes a second.
type Bandwidth struct {
	TotalIn  int64   `json:"total_in"`
	TotalOut int64   `json:"total_out"`
	RateIn   float64 `json:"rate_in"`
	RateOut  float64 `json:"rate_out"`
}
