package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	loadTime   = 10 * time.Second
	addSize    = 256 << 20
	listPins   = 100_000
	statusPins = 30_000
	bulkPins   = 100_000
	failovers  = 9
)

func benchPins(ctx context.Context, c *cluster, r *report) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	base := 0
	for _, m := range []struct {
		clients int
		want    string
	}{{1, "1,000"}, {16, "6,000"}, {64, "10,000, p99 30ms"}} {
		res, err := runLoad(ctx, m.clients, loadTime, func(n int) string {
			p := c.peers[(leader+n*min(1, m.clients-1))%3] // one client: the leader; more: spread
			return fmt.Sprintf("%s/pins/%s?replication=2", p.API, here(base+n))
		})
		if err != nil {
			return err
		}
		base += 1_000_000
		what := fmt.Sprintf("%d clients, spread over the peers", m.clients)
		if m.clients == 1 {
			what = "1 client, through the leader"
		}
		r.row(what, fmt.Sprintf("%.0f pins/s, p50 %s, p99 %s", res.rate(), short(res.percentile(50)), short(res.percentile(99))),
			fmt.Sprintf("goal %s; doing nothing %.0f /s", m.want, limits.nothing[m.clients]))
	}
	res, err := runLoad(ctx, 1, loadTime/2, func(n int) string {
		return fmt.Sprintf("%s/pins/%s?replication=2", c.peers[(leader+1)%3].API, here(base+n))
	})
	if err != nil {
		return err
	}
	r.row("1 client, through a follower", fmt.Sprintf("%.0f pins/s, p50 %s, p99 %s", res.rate(), short(res.percentile(50)), short(res.percentile(99))), "")
	return nil
}

func benchAdd(ctx context.Context, c *cluster, r *report) error {
	goals := []string{"130", "80", "60"}
	for copies := 1; copies <= 3; copies++ {
		var rates []float64
		for range 3 {
			rate, err := addOnce(ctx, c.peers[0].API, copies)
			if err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		slices.Sort(rates)
		r.row(fmt.Sprintf("replication %d, fsynced, median of 3", copies), fmt.Sprintf("%.0f MiB/s (%.0f to %.0f)", rates[1], rates[0], rates[2]),
			fmt.Sprintf("goal %s; sha256 %.0f MB/s a core", goals[copies-1], limits.shaMBs))
	}
	return nil
}

func addOnce(ctx context.Context, api string, copies int) (float64, error) {
	data := make([]byte, addSize)
	_, _ = rand.Read(data)
	pr, pw := io.Pipe()
	form := multipart.NewWriter(pw)
	go func() {
		part, err := form.CreateFormFile("file", "random")
		if err == nil {
			_, err = part.Write(data)
		}
		if err == nil {
			err = form.Close()
		}
		pw.CloseWithError(err)
	}()
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/add?replication=%d&cid-version=1", api, copies), pr)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if msg := res.Trailer.Get("X-Stream-Error"); msg != "" || res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("add: %s %s %s", res.Status, msg, body)
	}
	return addSize / (1 << 20) / time.Since(began).Seconds(), nil
}

func benchUnreachable(ctx context.Context, c *cluster, r *report) error {
	api := c.peers[0].API
	if _, err := bulk(ctx, api, 5000, func(i int) string { return `{"cid":"` + nowhere(i) + `"}` + "\n" }); err != nil {
		return err
	}
	began := time.Now()
	cids := make([]string, 500)
	for i := range cids {
		cids[i] = here(i)
	}
	if _, err := bulk(ctx, api, len(cids), func(i int) string { return `{"cid":"` + cids[i] + `"}` + "\n" }); err != nil {
		return err
	}
	for time.Since(began) < 2*time.Minute {
		pinned, err := countPinned(ctx, api, cids)
		if err != nil {
			return err
		}
		if pinned == 3*len(cids) {
			r.row("all 500 pinned on three peers after", short(time.Since(began)), "goal 5s; the incumbent: not in 60s")
			return nil
		}
	}
	return errors.New("not done after two minutes")
}

func countPinned(ctx context.Context, api string, cids []string) (int, error) {
	n := 0
	for batch := range slices.Chunk(cids, 50) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/pins?cids="+strings.Join(batch, ","), nil)
		if err != nil {
			return 0, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return 0, err
		}
		n += bytes.Count(body, []byte(`"status":"pinned"`))
	}
	return n, nil
}

// list reads a streamed listing and tells how many lines came, when the first one did
// and when the last.
func list(ctx context.Context, url string) (n int, first, all time.Duration, err error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	rd := bufio.NewReaderSize(res.Body, 256<<10)
	for {
		_, err = rd.ReadSlice('\n')
		if err != nil {
			break
		}
		if n++; n == 1 {
			first = time.Since(began)
		}
	}
	all = time.Since(began)
	if err == io.EOF {
		err = nil
	}
	if msg := res.Trailer.Get("X-Stream-Error"); msg != "" {
		err = errors.New(msg)
	}
	return
}

func benchList(ctx context.Context, c *cluster, r *report) error {
	api := c.peers[0].API
	if _, err := bulk(ctx, api, statusPins, pinLine); err != nil {
		return err
	}
	mib, err := c.resident()
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("resident memory, %d pins, largest peer", statusPins), fmt.Sprintf("%.0f MiB", mib), "goal 200")
	n, first, all, err := list(ctx, api+"/pins")
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("%d cluster-wide statuses", n), fmt.Sprintf("%.0f /s, first after %s", float64(n)/all.Seconds(), short(first)), "goal 80,000, 50ms")
	if _, err := bulk(ctx, api, listPins-statusPins, func(i int) string { return pinLine(i + statusPins) }); err != nil {
		return err
	}
	n, first, all, err = list(ctx, api+"/allocations")
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("%d allocations", n), fmt.Sprintf("%.0f /s, first after %s", float64(n)/all.Seconds(), short(first)), "goal 250,000")
	return nil
}

func benchFailover(ctx context.Context, c *cluster, r *report) error {
	var times []time.Duration
	for i := range failovers {
		leader, err := c.leader(ctx)
		if err != nil {
			return err
		}
		other := c.peers[(leader+1)%3].API
		if err := syscall.Kill(c.peers[leader].PID, syscall.SIGKILL); err != nil {
			return err
		}
		began := time.Now()
		for post(ctx, http.DefaultClient, fmt.Sprintf("%s/pins/%s?replication=1", other, here(i))) != nil {
			if time.Since(began) > time.Minute || ctx.Err() != nil {
				return errors.New("no write was acknowledged within a minute")
			}
		}
		times = append(times, time.Since(began))
		// The whole cluster comes back before the next round.
		if err := c.stop(); err != nil {
			return err
		}
		if err := c.start(ctx); err != nil {
			return err
		}
	}
	slices.Sort(times)
	r.row(fmt.Sprintf("median of %d", failovers), short(times[len(times)/2]), "goal 4s")
	r.row("longest", short(times[len(times)-1]), "goal 8s")
	return nil
}

func benchRestart(ctx context.Context, c *cluster, r *report) error {
	if _, err := bulk(ctx, c.peers[0].API, listPins, pinLine); err != nil {
		return err
	}
	mib, err := c.resident()
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("resident memory, %d pins, largest peer", listPins), fmt.Sprintf("%.0f MiB", mib), "")
	for _, p := range c.peers {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			return err
		}
	}
	if err := c.stop(); err != nil {
		return err
	}
	began := time.Now()
	if err := c.start(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	n, _, _, err := list(ctx, c.peers[0].API+"/allocations")
	if err != nil {
		return err
	}
	if n != listPins {
		return fmt.Errorf("%d pins are left of %d", n, listPins)
	}
	r.row("three peers killed, started one after the other, all ready", short(took), "")
	return nil
}
