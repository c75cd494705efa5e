// Package p2p connects the peers of a cluster.
//
// Every peer has two libp2p hosts. The Host carries Raft, calls and metrics; it is
// part of a private network, so only who knows the cluster's Secret gets a
// connection at all. The DataHost carries blocks, encrypted but outside that
// private network, which would cost it nearly twice the CPU.
//
// On both, knowing a secret is not membership. A member shows a Certificate, signed
// with the cluster's key when it was admitted; Members asks each peer for it once
// and remembers. Whatever a peer may do beyond introducing itself and asking to
// join waits for that. Being in somebody's list of peers is not asked for: a peer
// that lags would never hear of one that it does not know yet.
//
// The package knows nothing of pins, Raft or calls: it hands out net.Listener and
// net.Conn whose remote address is the other's peer ID, and signed topics.
package p2p

import (
	"fmt"
	"io/fs"
)

// ErrDenied is in the chain of errors about peers that are not certified members:
// strangers, peers of another cluster or incarnation, removed ones. It wraps
// fs.ErrPermission, for callers that do not import this package.
var ErrDenied = fmt.Errorf("not a member of the cluster: %w", fs.ErrPermission)
