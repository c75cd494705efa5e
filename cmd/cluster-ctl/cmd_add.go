package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ipfs/boxo/files"
	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

// addFlags are the flags of add.
type addFlags struct {
	optionFlags
	waitFlags
	p                  api.AddParams
	quiet, quieter     bool
	noStream, progress bool
}

func newAdd(c *ctl) *cobra.Command {
	a := addFlags{p: api.DefaultAddParams(), progress: true}
	cmd := &cobra.Command{Use: "add PATH-OR-URL...", Short: "Add files, directories and URLs and keep copies of them",
		Long: "Add files and directories, and what http:// and https:// URLs give, and keep copies of them. It returns\n" +
			"once the fewest copies asked for are on disk. Several paths are wrapped in a directory.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args) }}
	f := cmd.Flags()
	f.BoolVarP(&a.p.Recursive, "recursive", "r", false, "add directories with what is in them")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only CIDs")
	f.BoolVarP(&a.quieter, "quieter", "Q", false, "print only the last CID")
	f.BoolVar(&a.noStream, "no-stream", false, "print everything at the end")
	f.BoolVarP(&a.progress, "progress", "p", true, "show progress on a terminal")
	f.BoolVar(&a.p.Local, "local", false, "send blocks only to the peer that answers")
	f.IntVar(&a.replication, "replication", 0, "number of copies; -1 is one on every peer, 0 the cluster's default")
	a.registerRest(cmd)
	f.BoolVar(&a.p.NoPin, "no-pin", false, "store the blocks without pinning them")
	f.BoolVar(&a.wait, "wait", false, "return once it is pinned, or has failed on a peer")
	f.DurationVar(&a.timeout, "wait-timeout", 0, "with --wait: give up after this time; 0 never")
	f.DurationVar(&a.timeout, "wt", 0, "short for --wait-timeout")
	f.BoolVarP(&a.p.Wrap, "wrap-with-directory", "w", false, "wrap the files in a directory")
	f.StringVar(&a.p.Format, "format", "unixfs", "unixfs or car")
	f.StringVar(&a.p.Layout, "layout", "balanced", "balanced or trickle")
	f.BoolVarP(&a.p.Hidden, "hidden", "H", false, "include files whose names start with a dot")
	f.StringVarP(&a.p.Chunker, "chunker", "s", a.p.Chunker, "size-BYTES, rabin, rabin-AVG, rabin-MIN-AVG-MAX or buzhash")
	f.BoolVar(&a.p.RawLeaves, "raw-leaves", false, "leaves are plain blocks")
	f.IntVar(&a.p.CidVersion, "cid-version", 0, "0 or 1; 1 has raw leaves")
	f.BoolVar(&a.p.NoCopy, "nocopy", false, "of a URL: keep where it is instead of a copy; peers that always copy refuse it")
	f.StringVar(&a.p.HashFun, "hash", a.p.HashFun, "hash function; another than sha2-256 makes CIDs version 1")
	return cmd
}

func (a *addFlags) run(cmd *cobra.Command, c *ctl, paths []string) error {
	opts, err := a.options()
	if err != nil {
		return err
	}
	a.p.PinOptions = opts
	if a.p.HashFun = strings.ToLower(a.p.HashFun); a.p.HashFun != "sha2-256" {
		if a.p.CidVersion == 0 && cmd.Flags().Changed("cid-version") {
			return fmt.Errorf("reading --cid-version: version 0 has sha2-256 only, not %s", a.p.HashFun)
		}
		a.p.CidVersion = 1
	}
	if !cmd.Flags().Changed("raw-leaves") {
		a.p.RawLeaves = a.p.CidVersion > 0 || a.p.NoCopy
	}
	if len(paths) > 1 {
		a.p.Wrap = true
	}
	if a.p.Format == "car" && a.p.Wrap {
		return errors.New("reading the flags: a CAR file is added alone and not wrapped")
	}
	if err := a.waitFlags.check(c); err != nil {
		return err
	}
	dir, total, err := openPaths(cmd.Context(), paths, a.p.Recursive, a.p.Hidden)
	if err != nil {
		return err
	}
	defer dir.Close()
	a.p.Size = total
	if a.p.Name == "" && len(paths) == 1 && !isURL(paths[0]) {
		a.p.Name = filepath.Base(filepath.Clean(paths[0]))
	}
	return a.send(cmd.Context(), c, dir, total)
}

// send adds dir and prints what comes back.
func (a *addFlags) send(ctx context.Context, c *ctl, dir files.Directory, total uint64) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	b := newBar(c.errw, total, bytesOf, a.progress && !a.quiet && !a.quieter && c.enc() != encJSON)
	defer b.clear()
	var last api.AddedOutput
	var held []api.AddedOutput
	for line, err := range cl.AddTelling(ctx, dir, a.p, b.add) {
		if err != nil {
			return err
		}
		last = line
		if a.noStream {
			held = append(held, line)
			continue
		}
		b.clear()
		if err := a.print(c, line); err != nil {
			return err
		}
	}
	b.clear()
	if !last.Cid.Defined() {
		return errors.New("adding: the answer ended without a root")
	}
	if err := a.printHeld(c, held, last); err != nil {
		return err
	}
	if !a.wait || a.p.NoPin {
		return nil
	}
	pin, err := cl.Allocation(ctx, last.Cid)
	if err != nil {
		return err
	}
	_, err = c.await(ctx, pin, api.StatusPinned, pin.ReplicationFactorMin, a.timeout)
	return err
}

// print prints one line unless only the last is wanted.
func (a *addFlags) print(c *ctl, line api.AddedOutput) error {
	if a.quieter {
		return nil
	}
	return a.printLine(c, line)
}

func (a *addFlags) printLine(c *ctl, line api.AddedOutput) error {
	var err error
	switch {
	case c.enc() == encJSON:
		err = newPrinter(c.out, encJSON).json(line)
	case a.quiet || a.quieter:
		_, err = fmt.Fprintln(c.out, line.Cid)
	default:
		_, err = fmt.Fprintf(c.out, "added %s %s\n", line.Cid, printable(line.Name))
	}
	return err
}

// printHeld prints what --no-stream kept back, or the last line of --quieter.
func (a *addFlags) printHeld(c *ctl, held []api.AddedOutput, last api.AddedOutput) error {
	if a.quieter {
		held = []api.AddedOutput{last}
	}
	if a.noStream && c.enc() == encJSON {
		return newPrinter(c.out, encJSON).json(held)
	}
	for _, line := range held {
		if err := a.printLine(c, line); err != nil {
			return err
		}
	}
	return nil
}
