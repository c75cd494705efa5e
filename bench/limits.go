package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const limitTime = 2 * time.Second

// benchLimits measures the machine: hashing, syncing, HTTP that does nothing.
func benchLimits(ctx context.Context, r *report) error {
	r.title("this machine, now")
	limits.shaMBs = shaRate()
	r.row("sha256, one core", fmt.Sprintf("%.0f MB/s", limits.shaMBs), "")
	var err error
	if limits.syncs, err = syncRate(); err != nil {
		return err
	}
	r.row("append 4 KiB + fdatasync", fmt.Sprintf("%.0f /s", limits.syncs), "")
	limits.nothing, limits.nothingP99 = map[int]float64{}, map[int]time.Duration{}
	for _, clients := range []int{1, 16, 64} {
		res, err := nothingRate(ctx, clients)
		if err != nil {
			return err
		}
		limits.nothing[clients], limits.nothingP99[clients] = res.rate(), res.percentile(99)
		r.row(fmt.Sprintf("a handler that does nothing, %d clients", clients), fmt.Sprintf("%.0f requests/s", res.rate()),
			fmt.Sprintf("p99 %s", short(res.percentile(99))))
	}
	return nil
}

func shaRate() float64 {
	block := make([]byte, 256<<10)
	began, n := time.Now(), 0
	for time.Since(began) < limitTime {
		sha256.Sum256(block)
		n += len(block)
	}
	return float64(n) / 1e6 / time.Since(began).Seconds()
}

func syncRate() (float64, error) {
	dir, err := os.MkdirTemp("", "pinfold-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := make([]byte, 4096)
	began, n := time.Now(), 0
	for time.Since(began) < limitTime {
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

func nothingRate(ctx context.Context, clients int) (*load, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{}\n")
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	return runLoad(ctx, clients, limitTime, func(int) string { return "http://" + l.Addr().String() + "/pins/x" })
}
