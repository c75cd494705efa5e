package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	barWidth  = 24
	barPeriod = 100 * time.Millisecond
)

// bar shows on a terminal how much of an add has been read: bytes, rate, time left.
type bar struct {
	w     io.Writer // nil where nothing is to be shown
	total uint64
	start time.Time
	drawn time.Time
	files map[string]uint64 // bytes by file; an add reads one after the other
	done  uint64
	shown bool
}

// newBar returns a bar that shows something only where w is a terminal and on is set.
func newBar(w io.Writer, total uint64, on bool) *bar {
	f, ok := w.(*os.File)
	if !on || !ok || !term.IsTerminal(int(f.Fd())) {
		return &bar{}
	}
	return &bar{w: w, total: total, start: time.Now(), files: map[string]uint64{}}
}

func (b *bar) on() bool { return b.w != nil }

// update takes in a progress line.
func (b *bar) update(line api.AddedOutput) {
	if b.w == nil || line.Bytes < b.files[line.Name] {
		return
	}
	b.done += line.Bytes - b.files[line.Name]
	b.files[line.Name] = line.Bytes
	now := time.Now()
	if now.Sub(b.drawn) < barPeriod {
		return
	}
	b.drawn, b.shown = now, true
	fmt.Fprintf(b.w, "\r%s\x1b[K", b.text(now))
}

func (b *bar) text(now time.Time) string {
	rate := float64(b.done) / max(now.Sub(b.start).Seconds(), 0.001)
	part := 1.0
	if b.total > 0 {
		part = min(1, float64(b.done)/float64(b.total))
	}
	left := "-"
	if rate > 0 && b.total > b.done {
		left = time.Duration(float64(b.total-b.done) / rate * float64(time.Second)).Round(time.Second).String()
	}
	full := int(part * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %s of %s  %s/s  %s left", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
		100*part, humanize.IBytes(b.done), humanize.IBytes(b.total), humanize.IBytes(uint64(rate)), left)
}

// clear removes the bar from the screen before something else is printed.
func (b *bar) clear() {
	if b.w != nil && b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.shown = false
	}
}
