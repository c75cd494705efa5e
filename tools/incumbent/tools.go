//go:build tools

// Package incumbent pins the command line of IPFS Cluster that the tests drive.
package incumbent

import _ "github.com/ipfs-cluster/ipfs-cluster/cmd/ipfs-cluster-ctl"
