package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
)

// ask sends a request to the REST API of p and returns the answer and its body.
func ask(t *testing.T, p *testPeer, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

// firstEvent gives the first event that p tells a client which had the one with id last.
func firstEvent(t *testing.T, p *testPeer, last string) (e api.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", p.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", last)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			return e
		}
	}
	t.Fatal("the stream of events ended")
	return e
}

// An add on one peer is waited for until all hold it; another peer shows it at once to
// who asks for that, and each tells its figures.
func TestREST_WaitsReadsAndTellsFigures(t *testing.T) {
	door := testPort(t)
	peers := startCluster(t, 1, fmt.Sprintf("METRICS_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/%d", door))
	second := newPeer(t, "peer2")
	second.mustJoin(peers[0].invite())
	second.start()
	peers = append(peers, second)
	waitTogether(t, peers)
	alone := &testPeer{name: "the door for metrics", url: fmt.Sprintf("http://127.0.0.1:%d", door)}
	upload := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nwaited for\r\n--b--\r\n"
	res, text := ask(t, peers[0], "POST", "/add?name=w&wait=pinned&timeout=30s&replication=-1&stream-channels=false", upload, "Content-Type", "multipart/form-data; boundary=b")
	var lines []api.AddedOutput
	if err := json.Unmarshal([]byte(text), &lines); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("add: %d %s", res.StatusCode, text)
	}
	last := lines[len(lines)-1]
	if last.Wait == nil || !last.Wait.Pinned || len(last.Wait.PeerMap) != 2 {
		t.Fatalf("got %s, want it pinned on two peers", text)
	}
	for _, q := range []string{"?name=w&consistency=linearizable", "?name=w&index=" + res.Header.Get(api.IndexHeader)} {
		if res, text := ask(t, peers[1], "GET", "/allocations"+q, ""); res.StatusCode != http.StatusOK || !strings.Contains(text, last.Cid.String()) {
			t.Errorf("%s: %d %q", q, res.StatusCode, text)
		}
	}
	for _, p := range peers {
		began := time.Now()
		res, text := ask(t, p, "GET", "/allocations?index=1000000", "")
		if took := time.Since(began); res.StatusCode != http.StatusBadRequest || !strings.Contains(text, "index 1000000 is not in the cluster's log: the last one is ") || took > 9*time.Second {
			t.Errorf("%s, an index beyond the log: %d %s after %s", p.name, res.StatusCode, text, took)
		}
		if e := firstEvent(t, p, "1000000"); e.Type != api.EventGap || !strings.Contains(e.Error, "index 1000000 is not in the cluster's log") {
			t.Errorf("%s, events from beyond the log: %+v", p.name, e)
		}
	}
	if res, text := ask(t, peers[1], "GET", "/pins?name=w&filter=pinned&limit=1&fields=status", ""); res.StatusCode != http.StatusOK || strings.Count(text, `:"pinned"`) != 2 {
		t.Errorf("statuses: %d %s", res.StatusCode, text)
	}
	for _, q := range []string{"/pins?count=true", "/allocations?count=true", "/allocations?count=true&peer=" + peers[1].id.String(), "/pins?count=true&filter=pinned"} {
		if _, text := ask(t, peers[1], "GET", q, ""); text != "{\"count\":1}\n" {
			t.Errorf("%s: got %s", q, text)
		}
	}
	for _, p := range append(peers, alone) {
		res, text := ask(t, p, "GET", "/metrics", "")
		for _, want := range []string{"\ncluster_state_pins 1\n", "\nipfscluster_pins 1\n", "\ncluster_pintracker_pins{status=\"pinned\"} 1\n", "\ncluster_consensus_leader_known 1\n", "\ngo_goroutines ",
			"\nipfscluster_blocks_added 1\n", "\nipfscluster_blocks_added_size 18\n", "\nipfscluster_blocks_put_error 0\n", "\nipfscluster_pins_pin_add ", "\nipfscluster_pins_pin_add_errors ",
			"\nlibp2p_swarm_"} {
			if res.StatusCode != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%s: metrics (%d) lack %q", p.name, res.StatusCode, want)
			}
		}
	}
	for path, want := range map[string]int{"/": 404, "/metrics/x": 404, "/debug/pprof/heap": 404} {
		var e api.Error
		if res, text := ask(t, alone, "GET", path, ""); res.StatusCode != want || json.Unmarshal([]byte(text), &e) != nil || e.Code != want {
			t.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
	}
	if res, text := ask(t, alone, "POST", "/metrics", ""); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %s", res.StatusCode, text)
	}
}

// The default port for metrics may be taken: peers of one machine start all the same.
// Another address that is set, and taken, ends the start as ever.
func TestMetrics_TakenPorts(t *testing.T) {
	for address, starts := range map[string]bool{config.DefaultMetricsAddress: true, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", testPort(t)): false} {
		args := strings.Split(address, "/")
		if taken, err := net.Listen("tcp", "127.0.0.1:"+args[len(args)-1]); err == nil {
			defer taken.Close()
		} else if !starts {
			t.Fatal(err)
		} // else somebody else has it, which serves as well
		var c config.Config
		c.Metrics.ListenMultiaddress = address
		p := &Daemon{log: quiet, c: c, traded: traded{}}
		if err := p.openMetrics(); (err == nil) != starts || p.figures != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
