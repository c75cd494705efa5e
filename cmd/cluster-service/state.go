package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

func newState(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "state", Short: "Export, import and recover the pinset", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newStateExport(g), newStateImport(g), newStateCleanup(g), newStateRecover(g), newStateCrdt())
	return cmd
}

func newStateExport(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the pinset, a pin a line, as IPFS Cluster does",
		Long: "Write the pinset, a pin a line, as IPFS Cluster does. It works while the peer runs (through its API) and\n" +
			"while it does not. It is one state of the pinset: the log index is printed on standard error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			export := func(out io.Writer) error { return g.export(cmd.Context(), out, cmd.ErrOrStderr()) }
			var err error
			if file == "" {
				err = export(cmd.OutOrStdout())
			} else {
				err = writeWhole(file, export)
			}
			if err != nil {
				return fmt.Errorf("exporting: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "write to `FILE`, which stays as it was unless all is written")
	return cmd
}

// export writes the pinset from the files of a peer that does not run, else from the
// API of the one that does.
func (g *globals) export(ctx context.Context, out, notes io.Writer) error {
	c, err := g.loadConfig()
	if err != nil {
		return err
	}
	log, err := g.logger()
	if err != nil {
		return err
	}
	d := directory(g.dir)
	release, err := d.lock()
	if err != nil {
		return exportRunning(ctx, c, out, notes)
	}
	defer release()
	index, err := exportStopped(ctx, d, c, out, log)
	if err == nil {
		fmt.Fprintf(notes, "exported the pinset at log index %d\n", index)
	}
	return err
}

// exportStopped writes the pinset from the files of d, and returns its log index. What
// the peer has acknowledged may be in its log only: that is applied to a copy of the state.
func exportStopped(ctx context.Context, d directory, c config.Config, out io.Writer, log *slog.Logger) (index uint64, err error) {
	s, err := state.Open(d.state(), c.State, log)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	dir, err := os.MkdirTemp(string(d), "export-") // here, for hard links
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	all, err := s.Copy(dir)
	if err != nil {
		return 0, err
	}
	defer all.Close()
	if err := consensus.Replay(d.raft(), all); err != nil {
		return 0, err
	}
	return all.Export(ctx, out)
}

func exportRunning(ctx context.Context, c config.Config, out, notes io.Writer) error {
	cl, err := localClient(c)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	var index uint64
	for p, err := range cl.Export(ctx, func(i uint64) { index = i }) {
		if err != nil {
			return err
		}
		if err := enc.Encode(p); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(notes, "exported the pinset at log index %d\n", index)
	return err
}

// localClient asks the peer of these settings on this machine.
func localClient(c config.Config) (*client.Client, error) {
	var o client.Options
	users, most := c.API.REST.Users(), api.ScopeNone
	for user, password := range users.Passwords {
		if scope := users.Scope(user); scope > most {
			o.Username, o.Password, most = user, password, scope
		}
	}
	return client.New(c.API.REST.HTTPListenMultiaddress[0], o)
}

func newStateImport(g *globals) *cobra.Command {
	var over placement
	var allocations []string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Pin what an export of Pinfold or IPFS Cluster lists; the peer must be running",
		Long: "Pin what an export of Pinfold or IPFS Cluster lists, from FILE or standard input; the peer must be running.\n" +
			"Pins that are there already get the options of the export, others stay. Holders that are peers of this cluster\n" +
			"are kept; the others are chosen anew. Sharded content becomes an ordinary pin of its root.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := over.read(allocations); err != nil {
				return err
			}
			c, err := g.loadConfig()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if len(args) == 1 {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("importing: %w", err)
				}
				defer f.Close()
				in = f
			}
			if err := g.confirm(cmd, "The pins of the export will be pinned here, over those that are there already. Go on?"); err != nil {
				return err
			}
			n, err := importPins(cmd.Context(), c, in, over, cmd.ErrOrStderr())
			fmt.Fprintf(cmd.ErrOrStderr(), "%d pins imported\n", n)
			if err != nil {
				return fmt.Errorf("importing: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&over.rmin, "rmin", 0, "replication-min for all; 0 is as exported")
	cmd.Flags().IntVar(&over.rmax, "rmax", 0, "replication-max for all; 0 is as exported")
	cmd.Flags().StringSliceVar(&allocations, "allocations", nil, "IDs of peers that shall hold them all first, in place of those exported")
	g.shortForce(cmd)
	return cmd
}

// placement is what an import says of every pin, in place of its export.
type placement struct {
	rmin, rmax int // 0 is as exported
	holders    []api.PeerID
}

// read checks it, with those who shall hold the pins.
func (o *placement) read(holders []string) error {
	if o.rmin > 0 && o.rmax > 0 && o.rmin > o.rmax {
		return fmt.Errorf("reading --rmin: %d is more than --rmax, %d", o.rmin, o.rmax)
	}
	for _, s := range holders {
		id, err := api.ParsePeerID(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("reading --allocations: %w", err)
		}
		o.holders = append(o.holders, id)
	}
	return nil
}

// importPins reads an export and pins its lines in bulk. It reads everything before it
// sends the first pin: a damaged export changes nothing.
func importPins(ctx context.Context, c config.Config, in io.Reader, over placement, notes io.Writer) (int, error) {
	cl, err := localClient(c)
	if err != nil {
		return 0, err
	}
	self, err := cl.ID(ctx)
	if err != nil {
		return 0, err
	}
	spool, err := os.CreateTemp("", "pinfold-import-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	if err := spoolImport(in, spool, self.ClusterPeers, over, notes); err != nil {
		return 0, err
	}
	done, failed := 0, 0
	for res, err := range cl.Bulk(ctx, spool) {
		if err != nil {
			return done, err
		}
		if res.Error != nil {
			failed++
			fmt.Fprintf(notes, "%s: %s\n", res.Cid, res.Error.Message)
			continue
		}
		done++
	}
	if failed > 0 {
		return done, fmt.Errorf("%d pins failed", failed)
	}
	return done, nil
}

// spoolImport turns an export into the lines of a bulk request.
func spoolImport(in io.Reader, spool *os.File, members []api.PeerID, over placement, notes io.Writer) error {
	w := bufio.NewWriter(spool)
	enc := json.NewEncoder(w)
	for p, err := range state.ReadExport(in) {
		if err != nil {
			return err
		}
		switch p.Type {
		case api.PinShard, api.PinClusterDAG:
			fmt.Fprintf(notes, "%s is a %s of sharded content: its root is pinned whole instead\n", p.Cid, p.Type)
			continue
		case api.PinMeta:
			p.Mode = api.PinRecursive
		}
		p.ReplicationFactorMin = cmp.Or(over.rmin, p.ReplicationFactorMin)
		p.ReplicationFactorMax = cmp.Or(over.rmax, p.ReplicationFactorMax)
		p.PinUpdate = api.CidUndef
		p.UserAllocations = over.holders
		if over.holders == nil {
			p.UserAllocations = slices.DeleteFunc(slices.Clone(p.Allocations), func(id api.PeerID) bool { return !slices.Contains(members, id) })
		}
		if err := enc.Encode(api.BulkOp{Cid: p.Cid, PinOptions: p.PinOptions}); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := spool.Seek(0, io.SeekStart)
	return err
}

func newStateRecover(g *globals) *cobra.Command {
	var forceNew bool
	cmd := &cobra.Command{
		Use:   "recover --force-new-cluster",
		Short: "Start the cluster anew from this peer, when a majority is lost for good",
		Long: "Start the cluster anew from this peer, when a majority is lost for good. This peer keeps its pinset and becomes the\n" +
			"only one. Others of the old cluster are refused, even if they were only cut off: they must join again. What they\n" +
			"acknowledged and this peer had not heard of is lost.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !forceNew {
				return errors.New("recovering: say --force-new-cluster if a majority of the peers is lost for good")
			}
			if _, err := g.loadConfig(); err != nil {
				return err
			}
			if err := g.confirm(cmd, "This peer will be the only one of a new incarnation of the cluster; all others must join again. Go on?"); err != nil {
				return err
			}
			if err := recoverCluster(directory(g.dir)); err != nil {
				return fmt.Errorf("recovering: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "done; start the peer with 'cluster-service daemon' and invite the others anew")
			return nil
		},
	}
	cmd.Flags().BoolVar(&forceNew, "force-new-cluster", false, "yes, that is what is wanted")
	return cmd
}

// recoverCluster makes the peer of d the only one of a new incarnation. The incarnation
// is saved first: if the second step fails, this peer refuses the others all the same,
// and the command can be run again.
func recoverCluster(d directory) error {
	release, err := d.lock()
	if err != nil {
		return err
	}
	defer release()
	ids, err := d.loadIdentities()
	if err != nil {
		return err
	}
	cluster, err := p2p.LoadCluster(d.cluster())
	if err != nil {
		return err
	}
	if err := cluster.Reincarnate(ids.cluster.ID, ids.data.ID); err != nil {
		return err
	}
	if err := cluster.Save(d.cluster()); err != nil {
		return err
	}
	return consensus.Recover(d.raft(), ids.cluster.ID)
}
