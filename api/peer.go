package api

import "time"

// RPCProtocol is the version of the calls between peers; peers of another one are
// refused with an error that names both.
const RPCProtocol = "/pinfold/rpc/1"

// IPFSID identifies the IPFS node of a peer.
type IPFSID struct {
	ID        PeerID      `json:"id,omitempty" cbor:"id,omitempty"`
	Addresses []Multiaddr `json:"addresses"`
	Error     string      `json:"error"`
}

// Peer is what a peer tells of itself: the object of /id and /peers.
type Peer struct {
	ID                    PeerID      `json:"id" cbor:"id,omitempty"`
	Addresses             []Multiaddr `json:"addresses"`
	ClusterPeers          []PeerID    `json:"cluster_peers"`
	ClusterPeersAddresses []Multiaddr `json:"cluster_peers_addresses"`
	Version               string      `json:"version"`
	Commit                string      `json:"commit"`
	RPCProtocolVersion    string      `json:"rpc_protocol_version"`
	Error                 string      `json:"error"`
	IPFS                  IPFSID      `json:"ipfs"`
	PeerName              string      `json:"peername"`

	// Role is "leader", "voter", "non-voter", or "" where nobody answered.
	Role string `json:"role,omitempty"`
	// Index is the log index that the peer's state has reached, Digest that of its
	// pinset there, in hexadecimal.
	Index  uint64 `json:"index,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Gateway is the URL of the peer's HTTP gateway, "" without one.
	Gateway string `json:"gateway,omitempty"`
}

// A Member is a full peer admitted to the cluster.
type Member struct {
	ID PeerID `json:"id" cbor:"1,keyasint"`
	// DataID is the identity of its data host.
	DataID PeerID `json:"data_id" cbor:"2,keyasint,omitempty"`
	Name   string `json:"peername" cbor:"3,keyasint,omitempty"`
	// Addresses are where its cluster host was last known to listen.
	Addresses []Multiaddr `json:"addresses" cbor:"4,keyasint,omitempty"`
	// Certificate shows membership to others; see package p2p.
	Certificate []byte `json:"-" cbor:"5,keyasint,omitempty"`
	// DataAddresses are where its data host was last known to listen.
	DataAddresses []Multiaddr `json:"data_addresses" cbor:"6,keyasint,omitempty"`
}

// PeerRequest names a peer that is to be in the cluster.
type PeerRequest struct {
	ID string `json:"peer_id"`
}

// Version is the object of /version.
type Version struct {
	Version string `json:"version"`
}

// Metric is one measurement of one peer.
type Metric struct {
	Name          string `json:"name"`
	Peer          PeerID `json:"peer"`
	Value         string `json:"value"`
	Expire        int64  `json:"expire"` // Unix nanoseconds
	Valid         bool   `json:"valid"`
	Weight        int64  `json:"weight"`
	Partitionable bool   `json:"partitionable"`
	ReceivedAt    int64  `json:"received_at"` // Unix nanoseconds
}

// Expired tells whether the metric's time is over at now.
func (m Metric) Expired(now time.Time) bool { return now.UnixNano() > m.Expire }

// Alert tells that a metric of a peer has expired.
type Alert struct {
	Metric
	TriggeredAt time.Time `json:"triggered_at"`
}

// RepoStat is the room on a peer's IPFS node, in bytes.
type RepoStat struct {
	RepoSize   uint64 `json:"repo_size" cbor:"1,keyasint,omitempty"`
	StorageMax uint64 `json:"storage_max" cbor:"2,keyasint,omitempty"`
	Free       uint64 `json:"free" cbor:"3,keyasint,omitempty"` // what another pin may take: of StorageMax and of the disk, the smaller
}
