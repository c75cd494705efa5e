package proxy

import (
	"errors"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// Why a command is not offered, in Kubo's words where Kubo has a way to disable it.
var (
	errRemovedObject = errors.New("removed, use 'ipfs dag' or 'ipfs files' instead")
	errRemovedDHT    = errors.New("removed, use 'ipfs routing' instead")
	errNoDHT         = errors.New("routing service is not a DHT")
	errNoFilestore   = errors.New("filestore is not enabled, see https://git.io/vNItf")
	errNoPubsub      = errors.New("experimental pubsub feature not enabled, run daemon with --enable-pubsub-experiment to use")
	errNoP2P         = errors.New("libp2p stream mounting not enabled")
	errNoNamePubsub  = clientError{errors.New("IPNS pubsub subsystem is not enabled")}
	errNoReprovide   = errors.New("invalid configuration: Provide.Enabled is set to 'false'")
	errNoCheck       = errors.New("could not perform version check due to missing or incompatible DHT configuration")
	errNoResources   = errors.New("missing ResourceMgr: make sure the daemon is running with Swarm.ResourceMgr.Enabled")
	errNoMount       = errors.New("mounting is disabled: this node has no FUSE support")
	errNoProfiles    = errors.New("profiles are disabled here: the peer serves figures to Prometheus, and log/tail gives its log")
	errNoShutdown    = errors.New("shutdown is disabled here: stop the cluster-service of the peer")
	errNoSettings    = api.Unsupported.Errorf("settings are not changed here: see the peer's service.json")
)

// disabledCommands are those of Kubo that have no meaning on a node inside a cluster, or
// that a stranger must not be given. Groups of commands are there as in Kubo.
var disabledCommands = slices.Concat(
	without(errRemovedObject, "object/data", "object/get", "object/links", "object/new", "object/put", "object/stat",
		"object/patch/append-data", "object/patch/set-data"),
	without(errRemovedDHT, "dht/findpeer", "dht/findprovs", "dht/get", "dht/provide", "dht/put"),
	without(errNoDHT, "stats/dht"),
	without(errNoFilestore, "filestore/dups", "filestore/ls", "filestore/verify"),
	without(errNoPubsub, "pubsub/ls", "pubsub/peers", "pubsub/pub topic @data", "pubsub/reset", "pubsub/sub topic"),
	without(errNoP2P, "p2p/close", "p2p/forward protocol listen-address target-address", "p2p/listen protocol target-address", "p2p/ls",
		"p2p/stream/close", "p2p/stream/ls"),
	without(errNoNamePubsub, "name/pubsub/cancel name", "name/pubsub/subs"),
	without(errNoReprovide, "bitswap/reprovide", "routing/reprovide"),
	without(errNoCheck, "version/check"),
	without(errNoMount, "mount"),
	without(errNoProfiles, "diag/cmds/set-time time", "diag/profile"),
	without(errNoShutdown, "shutdown"),
	without(errNoSettings, "bootstrap/add", "bootstrap/rm", "bootstrap/rm/all", "config/profile/apply profile",
		"swarm/filters/add address", "swarm/filters/rm address",
		"swarm/peering/add address", "swarm/peering/rm ID"),
	[]*command{{path: "object"}, {path: "object/patch"}, {path: "dht"}, {path: "filestore"}, {path: "pubsub"}, {path: "p2p"}, {path: "p2p/stream"},
		{path: "name/pubsub"}, {path: "provide"}, {path: "config/profile"}, {path: "swarm/peering"},
		{path: "name/pubsub/state", run: func(c *call) error { return c.once(struct{ Enabled bool }{}) }},
		{path: "swarm/peering/ls", run: func(c *call) error { return c.once(swarmPeering{Peers: []string{}}) }},
		{path: "swarm/filters", run: func(c *call) error { return c.once(stringList{}) }},
		{path: "swarm/addrs/autonat", run: func(c *call) error { return c.once(map[string]string{"reachability": "Unknown"}) }},
		{path: "provide/clear", run: func(c *call) error { return c.emit(0) }, options: []option{opt(boolean, "quiet", "q")}},
	},
)

// without makes commands that answer with err, once they have the arguments that follow
// the path: a name with @ in front comes in the body.
func without(err error, specs ...string) []*command {
	var all []*command
	for _, spec := range specs {
		words := strings.Fields(spec)
		c := &command{path: words[0], run: func(*call) error { return err }}
		for _, name := range words[1:] {
			c.args = append(c.args, argument{name: strings.TrimPrefix(name, "@"), file: name[0] == '@'})
		}
		all = append(all, c)
	}
	return all
}

type swarmPeering struct{ Peers []string }
