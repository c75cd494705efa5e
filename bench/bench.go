// Command bench measures a cluster of three real peers on this machine and prints each
// figure beside what the machine itself can do in the same run: machines differ, and
// the same machine differs from hour to hour, so only the two together mean anything.
//
//	go run ./bench -bin bin            everything, about ten minutes
//	go run ./bench -bin bin -only pins,add
//	go run ./bench -bin bin -only nowhere -lines 1000000
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"
)

// benchLimit has room for a million lines, there and back, on a slow machine.
const benchLimit = 2 * time.Hour

func main() {
	bin := flag.String("bin", "bin", "directory of the built binaries")
	only := flag.String("only", "", "comma-separated parts: limits, pins, bulk, nowhere, add, unreachable, list, failover, restart")
	flag.IntVar(&bulkLines, "lines", bulkLines, "lines of a bulk request whose content nobody has; 1000000 takes some 20 minutes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, benchLimit)
	defer cancel()
	if err := run(ctx, *bin, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one group of figures, measured on a cluster of its own.
type part struct {
	name  string
	title string
	do    func(context.Context, *cluster, *report) error
}

func run(ctx context.Context, bin, only string) error {
	parts := []part{
		{"pins", "acknowledged pins over REST, three peers", benchPins},
		{"bulk", "pins and unpins in bulk, one NDJSON request each", benchBulk},
		{"nowhere", "the same with content that nobody has", benchNowhere},
		{"add", "add 256 MiB", benchAdd},
		{"unreachable", "500 pins that are there behind 5,000 that are nowhere", benchUnreachable},
		{"list", "listings", benchList},
		{"failover", "failover: SIGKILL to the leader until the next acknowledged write", benchFailover},
		{"restart", "restart and memory with 100,000 pins", benchRestart},
	}
	chosen := func(name string) bool {
		return only == "" || strings.Contains(","+only+",", ","+name+",")
	}
	r := newReport()
	if err := benchLimits(ctx, r); err != nil {
		return err
	}
	for _, p := range parts {
		if !chosen(p.name) {
			continue
		}
		r.title(p.title)
		if err := onCluster(ctx, bin, func(c *cluster) error { return p.do(ctx, c, r) }); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// report prints figures as they come, aligned within a part.
type report struct{ w *tabwriter.Writer }

func newReport() *report { return &report{tabwriter.NewWriter(os.Stdout, 44, 8, 2, ' ', 0)} }

func (r *report) title(s string) { fmt.Printf("\n%s\n", s) }

// row prints what was measured, the figure, and what to hold it against.
func (r *report) row(what, figure, beside string) {
	fmt.Fprintf(r.w, "  %s\t%s\t%s\n", what, figure, beside)
	r.w.Flush()
}

// limits are the machine's own figures in this run.
var limits struct {
	shaMBs     float64         // SHA-256 of one core, MB/s
	syncs      float64         // appends of 4 KiB with fdatasync, a second
	nothing    map[int]float64 // requests/s of a handler that does nothing, by clients
	nothingP99 map[int]time.Duration
}
