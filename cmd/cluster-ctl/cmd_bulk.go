package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxBulkLine is the longest line of a file of pins, in bytes.
const maxBulkLine = 1 << 20

// bulk pins or unpins what the lines of a file say ("-": of standard input): a CID, or a
// JSON object of the form of POST /pins. What a line does not say is as in defaults.
func (c *ctl) bulk(cmd *cobra.Command, name string, defaults api.BulkOp) error {
	in, total, err := openLines(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
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
		err := bulkLines(in, out, defaults)
		out.CloseWithError(err)
		read <- err
	}()
	b := newBar(c.errw, total, linesOf, c.enc() != encJSON)
	defer b.clear()
	done, failed, last := 0, 0, 0
	for r, err := range cl.Bulk(ctx, lines) {
		if err != nil {
			b.clear()
			select {
			case cause := <-read:
				if cause != nil { // the request only broke off with it
					return fmt.Errorf("reading --file: %w", cause)
				}
			default:
			}
			return err
		}
		done++
		if r.Error != nil {
			failed++
			b.clear()
			c.complain(fmt.Errorf("changing line %d: %s", r.Line, printable(r.Error.Message)))
		}
		b.add(r.Line - last) // blank ones are not answered
		last = r.Line
	}
	b.clear()
	if err := <-read; err != nil {
		return fmt.Errorf("reading --file: %w", err)
	}
	return c.bulkResult(defaults.Op, done, failed)
}

func (c *ctl) bulkResult(op string, done, failed int) error {
	var err error
	if c.enc() == encJSON {
		err = newPrinter(c.out, encJSON).json(map[string]int{"done": done - failed, "failed": failed})
	} else {
		did := "pinned"
		if op == api.BulkUnpin {
			did = "unpinned"
		}
		_, err = fmt.Fprintf(c.out, "%d %s, %d failed\n", done-failed, did, failed)
	}
	if err == nil && failed > 0 {
		err = refusedLines{failed, done}
	}
	return err
}

// refusedLines tells that the cluster refused some lines, each of which was told of.
type refusedLines struct{ failed, done int }

func (r refusedLines) Error() string {
	return fmt.Sprintf("changing the pinset: %d of %d lines failed", r.failed, r.done)
}

// openLines opens the file of that name and counts its lines; 0 where nobody knows yet.
func openLines(cmd *cobra.Command, name string) (io.ReadCloser, uint64, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("reading --file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return f, 0, nil
	}
	var total uint64
	if err == nil {
		total, err = countLines(f)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("reading --file: %w", err)
	}
	return f, total, nil
}

func countLines(in io.Reader) (n uint64, err error) {
	buf := make([]byte, 256<<10)
	ended := true // with an end of line
	for {
		k, err := in.Read(buf)
		if k > 0 {
			n += uint64(bytes.Count(buf[:k], []byte{'\n'}))
			ended = buf[k-1] == '\n'
		}
		if err == io.EOF && !ended {
			n++
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// bulkLines turns lines of a file into those of a bulk request. Each has one, blank ones
// too, so that results name the file's.
func bulkLines(in io.Reader, out io.Writer, defaults api.BulkOp) error {
	given, err := given(defaults)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 64<<10)
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxBulkLine)
	n := 1
	for ; s.Scan(); n++ {
		text := bytes.TrimSpace(s.Bytes())
		if len(text) > 0 && text[0] != '{' {
			id, err := api.ParseCid(string(text))
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			text = fmt.Appendf(nil, `{"cid":%q}`, id.String())
		}
		if len(text) > 0 && len(given) > 0 {
			text = completed(text, given)
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: it is over %d bytes", n, maxBulkLine)
	} else if err != nil {
		return err
	}
	return w.Flush()
}

// given are the keys of a line that o has something to say about.
func given(o api.BulkOp) (map[string]json.RawMessage, error) {
	var some, none map[string]json.RawMessage
	for _, of := range []struct {
		op   api.BulkOp
		into *map[string]json.RawMessage
	}{{o, &some}, {api.BulkOp{}, &none}} {
		text, err := json.Marshal(of.op)
		if err == nil {
			err = json.Unmarshal(text, of.into)
		}
		if err != nil {
			return nil, err
		}
	}
	for key, value := range none {
		if bytes.Equal(some[key], value) {
			delete(some, key)
		}
	}
	return some, nil
}

// completed adds to a line the keys that it does not have. One that is no JSON object is
// left for the server to refuse.
func completed(line []byte, given map[string]json.RawMessage) []byte {
	var has map[string]json.RawMessage
	if json.Unmarshal(line, &has) != nil {
		return line
	}
	more := slices.Clone(line[:len(line)-1]) // the scanner's own goes on behind it
	comma := len(has) > 0
	for key, value := range given {
		if _, there := has[key]; there {
			continue
		}
		if comma {
			more = append(more, ',')
		}
		comma = true
		more = fmt.Appendf(more, "%q:%s", key, value)
	}
	return append(more, '}')
}
