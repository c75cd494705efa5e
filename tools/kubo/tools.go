//go:build tools

// Package kubo pins the Kubo that the tests run against. It is a module of its own, so
// that none of Kubo's dependencies become Pinfold's.
package kubo

import _ "github.com/ipfs/kubo/cmd/ipfs"
