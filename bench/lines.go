package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// bulkLines is how many lines of a bulk request are about content that nobody has.
var bulkLines = 100_000

// here is the CID of content that every peer has at once: it is in the CID.
func here(n int) string { return cidOf(n, mh.IDENTITY) }

// nowhere is the CID of content that nobody has, n saying which.
func nowhere(n int) string { return cidOf(n, mh.SHA2_256) }

func cidOf(n int, hash uint64) string {
	h, err := mh.Sum(fmt.Appendf(nil, "pinfold bench %d", n), hash, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, h).String()
}

// bulk sends n lines in one request and returns how long it took until the last answer.
func bulk(ctx context.Context, api string, n int, line func(i int) string) (time.Duration, error) {
	pr, pw := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(pw, 64<<10)
		for i := range n {
			if _, err := w.WriteString(line(i)); err != nil {
				return // the reader has gone and says why
			}
		}
		pw.CloseWithError(w.Flush())
	}()
	defer pr.Close()
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/pins", pr)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	done := 0
	sc := bufio.NewScanner(res.Body)
	for sc.Scan() {
		if bytes.Contains(sc.Bytes(), []byte(`"error"`)) {
			return 0, fmt.Errorf("a line failed: %s", sc.Bytes())
		}
		done++
	}
	if done != n {
		return 0, fmt.Errorf("%d of %d lines were answered (%s): %w", done, n, res.Status, cmp.Or(sc.Err(), io.ErrUnexpectedEOF))
	}
	return time.Since(began), nil
}

// pinLine pins content that is there on two peers.
func pinLine(i int) string {
	return `{"cid":"` + here(i) + `","replication_factor_min":2,"replication_factor_max":2}` + "\n"
}

// benchBulk pins and unpins content that is there, on two peers.
func benchBulk(ctx context.Context, c *cluster, r *report) error {
	if err := bulkRow(ctx, c, r, "pins on 2 peers, the content is there", bulkPins, pinLine, "goal 20,000"); err != nil {
		return err
	}
	return bulkRow(ctx, c, r, "unpins", bulkPins, func(i int) string { return unpinLine(here(i)) }, "")
}

// benchNowhere pins and unpins content that nobody has, on all peers: each has the most
// to remember.
func benchNowhere(ctx context.Context, c *cluster, r *report) error {
	if err := bulkRow(ctx, c, r, "pins on 3 peers", bulkLines, func(i int) string { return `{"cid":"` + nowhere(i) + `"}` + "\n" }, ""); err != nil {
		return err
	}
	return bulkRow(ctx, c, r, "unpins", bulkLines, func(i int) string { return unpinLine(nowhere(i)) }, "")
}

// bulkRow sends n lines in one request, and reports how fast they were answered and what
// memory the peers took for it.
func bulkRow(ctx context.Context, c *cluster, r *report, what string, n int, line func(i int) string, goal string) error {
	var took time.Duration
	peaks, err := c.peaks(ctx, func() (err error) {
		took, err = bulk(ctx, c.peers[0].API, n, line)
		return err
	})
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("%d %s", n, what), fmt.Sprintf("%.0f /s", float64(n)/took.Seconds()), goal)
	for i, p := range peaks {
		r.row("    memory of "+c.peers[i].Name, p.String(), "goal +100 MiB")
	}
	return nil
}

func unpinLine(c string) string { return `{"cid":"` + c + `","op":"unpin"}` + "\n" }
