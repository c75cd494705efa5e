package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api/client"
)

func newContext(c *ctl) *cobra.Command {
	cmd := parent("context", "Name clusters, and choose one", newContextAdd(c), newContextUse(c), newContextLs(c), newContextRm(c))
	cmd.Long = "Name clusters, and choose one. A context keeps the address of a cluster and how to get in: the flags --host,\n" +
		"--basic-auth, --token, --secret, --https, --ca-cert, --no-check-certificate and --force-http. The chosen one\n" +
		"holds for commands without --host and --context. They stand in a file that only you can read:\n" +
		"$" + configVariable + ", or pinfold/ctl.json in your configuration directory."
	return cmd
}

func newContextAdd(c *ctl) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{Use: "add NAME --host ADDRESS [flags]", Short: "Name the cluster that the flags lead to", Args: cobra.ExactArgs(1),
		Long: "Name the cluster that the flags lead to, with the credentials they have. The first context is chosen at once.\n" +
			"Nothing is sent.",
		Example: "  cluster-ctl context add home --host /dns4/pins.example.net/tcp/9094 --basic-auth ann:secret",
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				return fmt.Errorf("reading the command: %q is no name: it has to be a word", name)
			}
			if c.context != "" {
				return errors.New("reading --context: add takes the name as its argument")
			}
			if c.Host == "" {
				return errors.New("reading --host: a context needs the address of a peer, or of several with commas")
			}
			o, err := c.access.options()
			if err != nil {
				return err
			}
			cl, err := client.New(c.Host, o)
			if err != nil {
				return fmt.Errorf("reading --host: %w", err)
			}
			cl.Close()
			if c.CACert != "" { // for commands in other directories
				if c.CACert, err = filepath.Abs(c.CACert); err != nil {
					return fmt.Errorf("reading --ca-cert: %w", err)
				}
			}
			return c.editContexts(func(all *contexts) error {
				if _, there := all.Contexts[name]; there && !replace {
					return fmt.Errorf("adding the context: there is one named %q; --replace puts this in its place", name)
				}
				all.Contexts[name] = c.access
				if all.Current == "" {
					all.Current = name
				}
				return nil
			})
		}}
	cmd.Flags().BoolVar(&replace, "replace", false, "in place of the context of that name")
	return cmd
}

func newContextUse(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "use NAME", Short: "Choose the context of commands that name none", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.editContexts(func(all *contexts) error {
				if _, err := all.get(args[0]); err != nil {
					return fmt.Errorf("choosing the context: %w", err)
				}
				all.Current = args[0]
				return nil
			})
		}}
}

func newContextRm(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "rm NAME", Short: "Forget a context", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.editContexts(func(all *contexts) error {
				if _, err := all.get(args[0]); err != nil {
					return fmt.Errorf("removing the context: %w", err)
				}
				delete(all.Contexts, args[0])
				if all.Current == args[0] {
					all.Current = ""
				}
				return nil
			})
		}}
}

func (c *ctl) editContexts(edit func(*contexts) error) error {
	all, err := loadContexts(c.warn)
	if err != nil {
		return err
	}
	if err := edit(all); err != nil {
		return err
	}
	return all.save()
}

// shownContext is a context without its secrets.
type shownContext struct {
	Name        string `json:"name"`
	Current     bool   `json:"current"`
	Host        string `json:"host"`
	Credentials string `json:"credentials"` // whose they are
}

func newContextLs(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "ls", Short: "List the contexts, without their secrets", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := loadContexts(c.warn)
			if err != nil {
				return err
			}
			return c.show(func(p *printer) error {
				for _, name := range slices.Sorted(maps.Keys(all.Contexts)) {
					a := all.Contexts[name]
					s := shownContext{Name: name, Current: name == all.Current, Host: a.Host}
					if user, _, _ := strings.Cut(a.BasicAuth, ":"); user != "" {
						s.Credentials = "password of " + user
					}
					if a.Token != "" {
						s.Credentials = "token"
					}
					if err := p.context(s); err != nil {
						return err
					}
				}
				return nil
			})
		}}
}

func (p *printer) context(s shownContext) error {
	mark := " "
	if s.Current {
		mark = "*"
	}
	switch p.enc {
	case encJSON:
		return p.json(s)
	case encTable:
		return p.row("\tNAME\tHOST\tCREDENTIALS", mark, s.Name, s.Host, s.Credentials)
	}
	_, err := fmt.Fprintf(p.w, "%s %s | %s | %s\n", mark, s.Name, s.Host, s.Credentials)
	return err
}
