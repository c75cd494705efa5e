// Command cluster-ctl is the command line of a Pinfold cluster: it talks to the REST
// API of one peer. Each command has a file of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

const version = "0.1.0"

// maxTimeout is a year, in seconds.
const maxTimeout = 365 * 24 * 60 * 60

// helpWidth is how many columns a line of help takes at most.
const helpWidth = 118

// Exit codes, as ipfs-cluster-ctl has them.
const (
	exitUsage    = 1   // a local or usage error, or no connection
	exitRefused  = 2   // the API answered with an error
	exitUnknown  = 3   // no such command
	exitDeadline = 62  // a time limit was reached
	exitCanceled = 125 // interrupted
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	c := &ctl{out: out, errw: errw}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	return c.report(root.ExecuteContext(ctx))
}

// report prints an error where the incumbent does and tells the exit code.
func (c *ctl) report(err error) int {
	var unknown unknownCommand
	var refused *api.Error
	err = c.explain(err)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &unknown):
		fmt.Fprintln(c.errw, err)
		return exitUnknown
	case errors.As(err, new(tooLate)):
		c.complain(err)
		return exitDeadline
	case errors.Is(err, context.DeadlineExceeded):
		if c.timeout > 0 {
			err = tooLate{what: "waiting for the answer: none", limit: c.limit(), flag: "--timeout"}
		}
		c.complain(err)
		return exitDeadline
	case errors.Is(err, context.Canceled):
		c.complain(errors.New("interrupted"))
		return exitCanceled
	case errors.As(err, new(refusedLines)):
		c.complain(err)
		return exitRefused
	case errors.As(err, &refused) && refused.Code != 0:
		if c.enc() == encJSON {
			_ = newPrinter(c.out, encJSON).json(refused) // the exit code tells it too
		} else {
			fmt.Fprintf(c.out, "An error occurred:\n  Code: %d\n  Message: %s\n", refused.Code, printable(refused.Message))
		}
		if hint := c.hint(refused); hint != "" {
			c.warn(hint)
		}
		return exitRefused
	}
	c.complain(err)
	return exitUsage
}

// complain prints err as the incumbent does, "error <doing>: <what>".
func (c *ctl) complain(err error) {
	fmt.Fprintf(c.errw, "error %s\n", strings.TrimPrefix(err.Error(), "error "))
}

// warn tells of what does not stop the command.
func (c *ctl) warn(text string) { fmt.Fprintln(c.errw, "note: "+text) }

// tooLate tells what was not done within the time that a flag gave it.
type tooLate struct {
	what  string
	limit time.Duration
	flag  string
}

func (t tooLate) Error() string { return fmt.Sprintf("%s within %s (%s)", t.what, t.limit, t.flag) }

type unknownCommand string

func (u unknownCommand) Error() string { return fmt.Sprintf("No help topic for '%s'", string(u)) }

// ctl is one run of the program: its flags and where it writes.
type ctl struct {
	out, errw io.Writer

	access     // as the flags say
	context    string
	encoding   string
	timeout    int // seconds
	debug      bool
	clientOnce *client.Client
}

func newRoot(c *ctl) *cobra.Command {
	root := &cobra.Command{
		Use:           "cluster-ctl",
		Short:         "Control a Pinfold cluster",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			// A value that starts with a dash hides the command after it from cobra.
			return cmp.Or(c.check(), error(unknownCommand(args[0])))
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.check() },
	}
	root.SetVersionTemplate("cluster-ctl version {{.Version}}\n")
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprint(".FlagUsagesWrapped ", helpWidth)))
	f := root.PersistentFlags()
	f.StringVarP(&c.Host, "host", "l", "", "`ADDRESS` of a peer's REST API: URL, multiaddr or host:port; several with commas are tried in order; default: that of the context, else "+client.DefaultAddress)
	f.StringVar(&c.context, "context", "", "`NAME` of the context to use: see 'cluster-ctl context' (CLUSTER_CTL_CONTEXT)")
	f.StringVar(&c.encoding, "encoding", "", "`FORMAT` of results: text, table, or json (an object a line); default: table on a terminal, else text")
	f.StringVar(&c.encoding, "enc", "", "short for --encoding")
	f.BoolVar(&c.HTTPS, "https", false, "use https (-s before the command)")
	f.BoolVar(&c.NoCheck, "no-check-certificate", false, "do not verify the server's certificate")
	f.StringVar(&c.CACert, "ca-cert", "", "`FILE` of certificates (PEM) of those that vouch for the server's")
	f.StringVar(&c.BasicAuth, "basic-auth", "", "`USER:PASSWORD`; implies https unless --force-http (CLUSTER_CREDENTIALS)")
	f.StringVar(&c.Token, "token", "", "`TOKEN` in place of a password, as 'cluster-ctl token create' makes one (CLUSTER_TOKEN)")
	f.BoolVar(&c.ForceHTTP, "force-http", false, "use http with credentials, which cross the network in the clear (-f before the command)")
	f.StringVar(&c.Secret, "secret", "", "the swarm's secret, 64 hexadecimal `DIGITS`: for a --host with /p2p that is a peer's cluster host (CLUSTER_SECRET)")
	f.IntVarP(&c.timeout, "timeout", "t", 0, "give up after so many `SECONDS`; 0 never")
	f.BoolVarP(&c.debug, "debug", "d", false, "log each request on standard error")
	// add has an -s of its own, and health graph an -f, so these short forms are only the root's.
	root.TraverseChildren = true
	root.Flags().BoolVarP(&c.ForceHTTP, "force-http-short", "f", false, "use http with credentials")
	root.Flags().Lookup("force-http-short").Hidden = true
	root.Flags().BoolVarP(&c.HTTPS, "https-short", "s", false, "use https")
	root.Flags().Lookup("https-short").Hidden = true
	root.AddCommand(newID(c), newVersion(c), newPeers(c), newFollowLink(c), newFollowers(c), newAdd(c), newPin(c), newStatus(c), newRecover(c), newHealth(c), newEvents(c), newMetrics(c), newIPFS(c), newToken(c), newContext(c), newCommands())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Aliases = []string{"h"}
		case "completion":
			onlyHolds(cmd)
		}
	}
	return root
}

// check refuses values of the flags that all commands have.
func (c *ctl) check() error {
	if c.timeout < 0 || c.timeout > maxTimeout {
		return fmt.Errorf("reading --timeout: %d is not 0 (never) to %d seconds", c.timeout, maxTimeout)
	}
	switch c.enc() {
	case encText, encTable, encJSON:
		return nil
	}
	return fmt.Errorf("reading --encoding: unsupported encoding %q: choose text, table or json", c.encoding)
}

// enc is the encoding in force.
func (c *ctl) enc() encoding {
	if c.encoding != "" {
		return encoding(c.encoding)
	}
	if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return encTable
	}
	return encText
}

// limit is how long a request may take; 0 for ever.
func (c *ctl) limit() time.Duration { return time.Duration(c.timeout) * time.Second }

// names asks for the names of the peers, by ID; where that fails IDs are shown.
func (c *ctl) names(ctx context.Context) map[string]string {
	names := map[string]string{}
	if c.enc() != encTable {
		return names
	}
	cl, err := c.client()
	if err != nil {
		return names
	}
	for p, err := range cl.Peers(ctx) {
		if err != nil {
			break
		}
		names[p.ID.String()] = p.PeerName
	}
	return names
}

// show prints one object.
func (c *ctl) show(print func(*printer) error) error {
	p := newPrinter(c.out, c.enc())
	return errors.Join(print(p), p.Close())
}

// parent makes a command that only holds others.
func parent(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	onlyHolds(cmd)
	cmd.AddCommand(below...)
	return cmd
}

// onlyHolds makes cmd show its help when it is run, and refuse what is no command below it.
func onlyHolds(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("reading the command: %s has no command %q", cmd.Name(), args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// newCommands lists every command's path, a line each.
func newCommands() *cobra.Command {
	return &cobra.Command{Use: "commands", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var walk func(*cobra.Command)
		walk = func(at *cobra.Command) {
			for _, sub := range at.Commands() {
				fmt.Fprintln(cmd.OutOrStdout(), sub.CommandPath())
				walk(sub)
			}
		}
		walk(cmd.Root())
		return nil
	}}
}
