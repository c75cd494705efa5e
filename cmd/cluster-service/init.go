package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/p2p"
)

func newInit(g *globals) *cobra.Command {
	var name, secret string
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the directory of the first peer of a new cluster",
		Long: "Make the directory of the first peer of a new cluster. Others join it: see join.\n" +
			"CLUSTER_* variables are written to its service.json, which holds only what differs from the defaults.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(args); err != nil {
				return err
			}
			environ, err := flags.environ()
			if err != nil {
				return err
			}
			log, err := g.logger()
			if err != nil {
				return err
			}
			return initCluster(directory(g.dir), name, secret, environ, cmd.OutOrStdout(), log)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the cluster")
	cmd.Flags().StringVarP(&secret, "custom-secret", "s", "", "swarm secret, 64 hexadecimal digits; default: a random one")
	flags.register(cmd)
	g.shortForce(cmd)
	return cmd
}

// initCluster makes d the directory of a cluster of one peer. An identity that is there
// already is kept.
func initCluster(d directory, name, secret string, environ []string, out io.Writer, log *slog.Logger) error {
	c, err := newSettings(d, environ, log)
	if err != nil {
		return err
	}
	if name != "" {
		c.Cluster.ClusterName = name
	}
	switch {
	case secret != "":
		if err := c.Cluster.Host.Secret.UnmarshalText([]byte(secret)); err != nil {
			return fmt.Errorf("reading --custom-secret: %w", err)
		}
	case len(c.Cluster.Host.Secret) == 0:
		c.Cluster.Host.Secret = p2p.NewSecret()
	}
	ids, err := d.begin(environ, out)
	if err != nil {
		return err
	}
	cluster, err := p2p.NewCluster(c.Cluster.ClusterName, ids.cluster.ID, ids.data.ID)
	if err != nil {
		return fmt.Errorf("making the cluster's key: %w", err)
	}
	if err := consensus.Bootstrap(d.raft(), ids.cluster.ID); err != nil {
		return fmt.Errorf("making the log: %w", err)
	}
	if err := cluster.Save(d.cluster()); err != nil {
		return err
	}
	return d.saveConfig(c, out)
}

// newSettings reads the settings of a peer that is about to be made in d.
func newSettings(d directory, environ []string, log *slog.Logger) (config.Config, error) {
	there, err := d.initialised()
	if err != nil {
		return config.Config{}, fmt.Errorf("looking at the directory: %w", err)
	}
	if there {
		return config.Config{}, fmt.Errorf("initialising: %s holds a peer already; 'cluster-service -c %s daemon' runs it, and to start anew remove the directory", d, d)
	}
	c, warnings, err := config.FromEnv(environ)
	for _, w := range warnings {
		log.Warn(w)
	}
	if err != nil {
		return c, fmt.Errorf("reading the settings: %w", err)
	}
	return c, nil
}

// begin makes the directory and the peer's identities.
func (d directory) begin(environ []string, out io.Writer) (identities, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return identities{}, fmt.Errorf("making the directory: %w", err)
	}
	if err := d.adoptIdentity(environ); err != nil {
		return identities{}, err
	}
	ids, made, err := d.makeIdentities()
	if err != nil {
		return ids, fmt.Errorf("making the identity: %w", err)
	}
	if made {
		fmt.Fprintf(out, "new identity written to %s\n", d.identity())
	}
	return ids, nil
}

// saveConfig writes service.json, the last step: with it the directory is initialised.
func (d directory) saveConfig(c config.Config, out io.Writer) error {
	if err := c.Save(string(d)); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	fmt.Fprintf(out, "configuration written to %s.\n", d.path(config.File))
	return nil
}
