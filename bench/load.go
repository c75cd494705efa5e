package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what a number of clients saw who sent POST requests one after the other.
type load struct {
	took      time.Duration
	latencies []time.Duration // sorted
}

func (l *load) rate() float64 { return float64(len(l.latencies)) / l.took.Seconds() }

func (l *load) percentile(p int) time.Duration {
	if len(l.latencies) == 0 {
		return 0
	}
	return l.latencies[min(len(l.latencies)-1, len(l.latencies)*p/100)]
}

// runLoad lets clients POST to url(n), n counting up over all of them, for a time. Any
// answer but 200 is an error.
func runLoad(ctx context.Context, clients int, d time.Duration, url func(n int) string) (*load, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: 0}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport}
	var counter atomic.Int64
	results := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			for time.Since(began) < d && errs[i] == nil {
				start := time.Now()
				errs[i] = post(ctx, hc, url(int(counter.Add(1))))
				results[i] = append(results[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	l := &load{took: time.Since(began), latencies: slices.Concat(results...)}
	slices.Sort(l.latencies)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func post(ctx context.Context, hc *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("POST %s: %s: %s", url, res.Status, body)
	}
	return err
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
