package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxBulkLine is the longest line of a file of pins, in bytes.
const maxBulkLine = 1 << 20

// pinFile pins what the lines of a file say ("-": of standard input): a CID, or a JSON
// object of the form of POST /pins. Options apply to lines that are only a CID.
func (c *ctl) pinFile(cmd *cobra.Command, name string, o api.PinOptions) error {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("reading --file: %w", err)
		}
		defer f.Close()
		in = f
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	lines, out := io.Pipe()
	defer lines.Close() // ends who writes
	read := make(chan error, 1)
	go func() {
		err := bulkLines(in, out, o)
		out.CloseWithError(err)
		read <- err
	}()
	done, failed := 0, 0
	for r, err := range cl.Bulk(ctx, lines) {
		if err != nil {
			return err
		}
		done++
		if r.Error != nil {
			failed++
			c.complain(fmt.Errorf("pinning line %d: %s", r.Line, printable(r.Error.Message)))
		}
	}
	if err := <-read; err != nil {
		return fmt.Errorf("reading --file: %w", err)
	}
	if c.enc() == encJSON {
		err = newPrinter(c.out, encJSON).json(map[string]int{"done": done - failed, "failed": failed})
	} else {
		_, err = fmt.Fprintf(c.out, "%d pinned, %d failed\n", done-failed, failed)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("pinning: %d of %d lines failed", failed, done)
	}
	return err
}

// bulkLines turns lines of a file into those of a bulk request. Each has one, blank ones
// too, so that results name the file's.
func bulkLines(in io.Reader, out io.Writer, o api.PinOptions) error {
	w := bufio.NewWriterSize(out, 64<<10)
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxBulkLine)
	for n := 1; s.Scan(); n++ {
		text := bytes.TrimSpace(s.Bytes())
		if len(text) > 0 && text[0] != '{' {
			id, err := api.ParseCid(string(text))
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			if text, err = json.Marshal(api.BulkOp{Cid: id, PinOptions: o}); err != nil {
				return err
			}
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	return w.Flush()
}
