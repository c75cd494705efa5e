package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/config"
)

func newConfig(g *globals) *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Print every setting in force, defaults and environment included, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.loadConfig()
			if err != nil {
				return err
			}
			text, err := c.Show()
			if err != nil {
				return fmt.Errorf("printing the configuration: %w", err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd := &cobra.Command{Use: "config", Short: "Look at the settings", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(show)
	return cmd
}

// loadConfig reads the settings of the directory that --config names.
func (g *globals) loadConfig() (config.Config, error) {
	log, err := g.logger()
	if err != nil {
		return config.Config{}, err
	}
	c, warnings, err := config.Load(g.dir, os.Environ())
	if errors.Is(err, fs.ErrNotExist) {
		return c, errNotInitialised(g.dir)
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	if err != nil {
		return c, fmt.Errorf("reading the configuration: %w", err)
	}
	return c, nil
}
