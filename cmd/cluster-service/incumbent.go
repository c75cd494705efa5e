package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/config"
)

// What scripts of ipfs-cluster-service say and we have no use for is taken where nothing
// is lost by it, and refused with what to do where something would be.

// initFlags are those of the incumbent's init.
type initFlags struct {
	consensus, datastore, peers string
	randomPorts                 bool
}

func (i *initFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&i.randomPorts, "randomports", false, "listen on ports that are free now, where no variable says otherwise")
	f.StringVar(&i.consensus, "consensus", "raft", "how peers agree: raft")
	f.StringVar(&i.datastore, "datastore", "pebble", "where the pinset is kept: pebble")
	f.StringVar(&i.peers, "peers", "", "refused: peers join with a token")
	for _, name := range []string{"consensus", "datastore", "peers"} {
		f.Lookup(name).Hidden = true
	}
}

// check refuses what would make another cluster than was asked for.
func (i *initFlags) check(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("reading the command: settings cannot be fetched from %s; set CLUSTER_* variables, or write service.json", args[0])
	case i.consensus != "raft":
		return fmt.Errorf("reading --consensus: %q is not raft; for a cluster that anyone may follow, see 'cluster-ctl follow-link'", i.consensus)
	case i.datastore != "pebble":
		return fmt.Errorf("reading --datastore: %q is not pebble", i.datastore)
	case i.peers != "":
		return errors.New("reading --peers: peers join with a token: 'cluster-ctl peers invite' prints one, 'cluster-service join TOKEN' takes it")
	}
	return nil
}

// environ is that of the process, and has addresses with free ports where it names none:
// for the gateway, too, unless a Kubo daemon has its own.
func (i *initFlags) environ() ([]string, error) {
	environ := os.Environ()
	if !i.randomPorts {
		return environ, nil
	}
	listens := []struct{ variable, host string }{
		{"CLUSTER_LISTENMULTIADDRESS", "0.0.0.0"}, {"CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS", "0.0.0.0"},
		{"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS", "127.0.0.1"}, {"CLUSTER_PINSVCAPI_HTTPLISTENMULTIADDRESS", "127.0.0.1"},
		{"CLUSTER_IPFSPROXY_LISTENMULTIADDRESS", "127.0.0.1"}, {"CLUSTER_METRICS_LISTENMULTIADDRESS", "127.0.0.1"},
		{"CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS", "127.0.0.1"},
	}
	if c, _, err := config.FromEnv(environ); err == nil && c.IPFSConnector.Kubo.NodeMultiaddress != "" {
		listens = listens[:len(listens)-1]
	} // what is wrong with it, init says
	ports, err := freePorts(len(listens))
	if err != nil {
		return nil, err
	}
	for n, l := range listens {
		if os.Getenv(l.variable) == "" {
			environ = append(environ, fmt.Sprintf("%s=/ip4/%s/tcp/%d", l.variable, l.host, ports[n]))
		}
	}
	return environ, nil
}

// idleFlags registers flags of the incumbent's daemon that change nothing here.
func idleFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolP("upgrade", "u", false, "without effect: a peer takes over what an older one has written")
	f.BoolP("leave", "x", false, "without effect: only 'cluster-ctl peers rm' removes a peer")
	f.Bool("stats", false, "without effect: figures are always served, see metrics.listen_multiaddress")
	f.Bool("tracing", false, "without effect: there is no tracing")
	f.Bool("no-trust", false, "without effect: who joins is trusted")
	for _, name := range idle {
		f.Lookup(name).Hidden = true
	}
}

var idle = []string{"upgrade", "leave", "stats", "tracing", "no-trust"}

// noteIdle tells which of them were given.
func noteIdle(cmd *cobra.Command) {
	for _, name := range idle {
		if f := cmd.Flags().Lookup(name); f.Changed {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: --%s is %s\n", name, f.Usage)
		}
	}
}

// newStateCrdt refuses the commands of a kind of agreement that is not ours.
func newStateCrdt() *cobra.Command {
	return &cobra.Command{Use: "crdt", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("reading the command: peers agree by Raft, there is no CRDT state; 'cluster-ctl id' tells the log's index and the pinset's digest")
		}}
}

func newStateCleanup(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Put what this peer knows of its cluster aside, so that it can join or start another",
		Long: "Put what this peer knows of its cluster aside: log, pinset, settings, certificate. They go to the directory old.N\n" +
			"in the peer's own. Its identity and the content on its IPFS node stay. The peer must not be running; first remove\n" +
			"it from its cluster ('cluster-ctl peers rm'), which would wait for it otherwise. Then 'join TOKEN' or 'init'.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := directory(g.dir)
			there, err := d.initialised()
			if err != nil {
				return fmt.Errorf("cleaning up: %w", err)
			}
			if !there {
				return errNotInitialised(g.dir)
			}
			if err := g.confirm(cmd, "This peer will not be one of its cluster any more. Go on?"); err != nil {
				return err
			}
			aside, err := d.cleanUp()
			if err != nil {
				return fmt.Errorf("cleaning up: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "log, pinset, settings and certificate moved to %s\n", aside)
			return err
		},
	}
	g.shortForce(cmd)
	return cmd
}

// cleanUp moves what belongs to the cluster into a new directory, which it names. The
// settings go first: without them the directory belongs to no peer.
func (d directory) cleanUp() (aside string, err error) {
	release, err := d.lock()
	if err != nil {
		return "", err
	}
	defer release()
	for n := 0; ; n++ {
		aside = d.path(fmt.Sprint("old.", n))
		if err = os.Mkdir(aside, 0o700); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	for _, name := range []string{"service.json", "cluster.json", "peerstore", "raft", "state", "tracker"} {
		err := os.Rename(d.path(name), directory(aside).path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, nil
}

// shortForce gives a command -f for --force, which state export has for something else.
func (g *globals) shortForce(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&g.force, "force-short", "f", false, "short for --force")
	cmd.Flags().Lookup("force-short").Hidden = true
}
