package rest

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

func TestShortLists_GoByPages(t *testing.T) {
	c := &cluster{metrics: map[string][]api.Metric{"a": nil, "b": nil, "c": nil, "ping": nil}}
	var peers []api.Peer
	for i := range 5 {
		id := api.PeerID(apitest.PeerID(t, p0)[:30] + api.PeerID(rune('a'+4-i)))
		peers = append(peers, api.Peer{ID: id})
		c.metrics["ping"] = append(c.metrics["ping"], api.Metric{Name: "ping", Peer: id})
		c.alertList = append(c.alertList, api.Alert{Metric: api.Metric{Name: "ping", Peer: id}, TriggeredAt: time.Unix(int64(100-i), 0)})
	}
	c.peers = seq(nil, peers...)
	url := c.serve(t)
	res, _ := do(t, "GET", url+"/monitor/metrics/a?limit=1", nil) // none: it has no rows
	other := base64.RawURLEncoding.EncodeToString([]byte("/elsewhere " + p0))
	if res.Header.Get(api.CursorHeader) != "" {
		t.Error("a cursor after the end")
	}
	for path, want := range map[string]int{"/peers": 5, "/health/alerts": 5, "/monitor/metrics": 4, "/monitor/metrics/ping": 5, "/monitor/metrics/none": 0} {
		rowsOf := func(body string) (rows []string) {
			if path == "/peers" {
				return slices.Collect(strings.Lines(body))
			}
			var items []json.RawMessage
			if err := json.Unmarshal([]byte(body), &items); err != nil {
				t.Fatalf("%s: %v: %s", path, err, body)
			}
			for _, item := range items {
				rows = append(rows, string(item)+"\n")
			}
			return rows
		}
		_, body := do(t, "GET", url+path, nil)
		all := rowsOf(body)
		var paged []string
		for cursor, pages := "", 1; ; pages++ {
			res, body := do(t, "GET", url+path+"?limit=2&cursor="+cursor, nil)
			if res.StatusCode/100 != 2 {
				t.Fatalf("%s: %d %s", path, res.StatusCode, body)
			}
			rows := rowsOf(body)
			paged = append(paged, rows...)
			if cursor = res.Header.Get(api.CursorHeader); cursor == "" {
				if pages != max(1, (want+1)/2) {
					t.Errorf("%s: %d pages", path, pages)
				}
				break
			}
			if len(rows) != 2 {
				t.Errorf("%s: a page of %d rows", path, len(rows))
			}
		}
		if path == "/health/alerts" && !slices.Equal(all, paged) {
			t.Errorf("the latest are not first: %v", paged)
		}
		slices.Sort(all)
		if slices.Sort(paged); len(all) != want || !slices.Equal(all, paged) {
			t.Errorf("%s: got %d rows, on pages %d, want %d", path, len(all), len(paged), want)
		}
		if _, body := do(t, "GET", url+path+"?count=true", nil); body != `{"count":`+string(rune('0'+want))+"}\n" {
			t.Errorf("%s: got %s, want %d", path, body, want)
		}
		for _, q := range []string{"limit=0", "limit=10001", "limit=a", "cursor=!", "cursor=eA", "cursor=" + other, "cursor=" + strings.Repeat("a", 1025), "count=2", "count=true&limit=1", "limit=1&limit=1"} {
			if res, body := do(t, "GET", url+path+"?"+q, nil); res.StatusCode != 400 {
				t.Errorf("%s?%s: got %d %s", path, q, res.StatusCode, body)
			}
		}
	}
}
