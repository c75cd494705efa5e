// Command cluster-service runs a Pinfold peer: it initialises a configuration
// directory, joins a cluster, and runs the daemon. What a peer is made of stands in
// daemon.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed  = 1
	exitUnknown = 3 // no such command
)

func main() {
	ctx, stop := untilSignal()
	boundGarbage(ctx)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, out, errw io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	var unknown unknownCommand
	switch {
	case err == nil:
		return 0
	case errors.As(err, &unknown):
		fmt.Fprintln(errw, err)
		return exitUnknown
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w; free space there or move the directory to a larger disk, then start again", err)
	}
	fmt.Fprintf(errw, "error %s\n", err)
	return exitFailed
}

type unknownCommand string

func (u unknownCommand) Error() string { return fmt.Sprintf("No help topic for '%s'", string(u)) }

// untilSignal returns a context that ends with the first INT, TERM or HUP. The second
// warns, the third ends the process at once.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "still shutting down; one more signal ends the process at once")
		<-signals
		os.Exit(1)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// globals are the flags that every command takes.
type globals struct {
	dir      string
	force    bool
	debug    bool
	loglevel string
	logfile  io.Writer
}

func newRoot() *cobra.Command {
	g := &globals{logfile: os.Stderr}
	root := &cobra.Command{
		Use:           "cluster-service",
		Short:         "Run a peer of a Pinfold cluster",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDaemon(cmd.Context(), g, nil)
		},
	}
	root.SetVersionTemplate("cluster-service version {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVarP(&g.dir, "config", "c", defaultDir(), "configuration and data `DIR` (IPFS_CLUSTER_PATH)")
	f.BoolVar(&g.force, "force", false, "do it without asking (-f)")
	f.BoolVarP(&g.debug, "debug", "d", false, "log at debug level")
	f.StringVarP(&g.loglevel, "loglevel", "l", os.Getenv("IPFS_CLUSTER_LOG_LEVEL"), "`LEVEL` (debug, info, warn, error) or component:LEVEL pairs, separated by commas")
	root.TraverseChildren = true
	g.shortForce(root)
	root.AddCommand(newInit(g), newDaemon(g), newJoin(g), newFollow(g), newDev(g), newState(g), newConfig(g), newVersion())
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() } // what runs checks its arguments
	}
	return root
}

func defaultDir() string {
	if dir := os.Getenv("IPFS_CLUSTER_PATH"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".ipfs-cluster"
	}
	return filepath.Join(home, ".ipfs-cluster")
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version) },
	}
}

// logger makes the process's logger from the flags.
func (g *globals) logger() (*slog.Logger, error) {
	level := slog.LevelInfo
	components := map[string]slog.Level{}
	for part := range strings.SplitSeq(g.loglevel, ",") {
		name, text, pair := strings.Cut(strings.TrimSpace(part), ":")
		if !pair {
			name, text = "", name
		}
		if text == "" {
			continue
		}
		var l slog.Level
		if err := l.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("reading --loglevel: %q is none of debug, info, warn, error", text)
		}
		if name == "" {
			level = l
		} else {
			components[name] = l
		}
	}
	if g.debug {
		level = slog.LevelDebug
	}
	return newLogger(g.logfile, level, components), nil
}

// errNotInitialised says what to do about a directory without a configuration.
func errNotInitialised(dir string) error {
	return fmt.Errorf("reading the configuration: %s holds none; run 'cluster-service -c %s init' to start a cluster, or '... join TOKEN' to join one", dir, dir)
}

// confirm asks on the terminal unless --force was given.
func (g *globals) confirm(cmd *cobra.Command, question string) error {
	if g.force {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/n] ", question)
	var answer string
	if _, err := fmt.Fscanln(cmd.InOrStdin(), &answer); err != nil || !strings.EqualFold(answer, "y") {
		return errors.New("asking: not confirmed; nothing was changed (--force goes on without asking)")
	}
	return nil
}
