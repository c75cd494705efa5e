package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

const (
	barWidth  = 24
	barPeriod = 100 * time.Millisecond
)

// A bar shows on a terminal how far something is: how much of how much, rate, time left.
// It is for several goroutines.
type bar struct {
	w     io.Writer // nil where nothing is to be shown
	count func(uint64) string

	mu    sync.Mutex
	total uint64 // 0: not known
	done  uint64
	start time.Time
	drawn time.Time
	shown bool
}

// bytesOf and linesOf write an amount.
func bytesOf(n uint64) string { return humanize.IBytes(n) }

func linesOf(n uint64) string { return humanize.Comma(int64(n)) + " lines" }

// newBar returns a bar that shows something only where w is a terminal and on is set.
func newBar(w io.Writer, total uint64, count func(uint64) string, on bool) *bar {
	if !on || !isTerminal(w) {
		w = nil
	}
	return &bar{w: w, count: count, total: total, start: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// add tells of n more.
func (b *bar) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += uint64(n)
	b.draw(time.Now())
}

func (b *bar) draw(now time.Time) {
	if b.w == nil || now.Sub(b.drawn) < barPeriod {
		return
	}
	b.drawn, b.shown = now, true
	b.print(b.text(now))
}

// print puts a line where the last one was, cut to the terminal's width: one that wraps
// could not be taken back.
func (b *bar) print(line string) {
	if f, ok := b.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			runes := []rune(line)
			line = string(runes[:min(len(runes), width-1)])
		}
	}
	fmt.Fprintf(b.w, "\r%s\x1b[K", line)
}

func (b *bar) text(now time.Time) string {
	rate := float64(b.done) / max(now.Sub(b.start).Seconds(), 0.001)
	if b.total == 0 {
		return fmt.Sprintf("%s  %s/s", b.count(b.done), b.count(uint64(rate)))
	}
	done := min(b.done, b.total)
	part := float64(done) / float64(b.total)
	left := "-"
	if rate > 0 {
		left = time.Duration(float64(b.total-done) / rate * float64(time.Second)).Round(time.Second).String()
	}
	full := int(part * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %s of %s  %s/s  %s left", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
		100*part, b.count(done), b.count(b.total), b.count(uint64(rate)), left)
}

// note shows a line in place of the bar.
func (b *bar) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w != nil {
		b.shown = true
		b.print(printable(text))
	}
}

// clear removes the bar from the screen before something else is printed.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.shown, b.drawn = false, time.Time{}
	}
}
