package rest

import (
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// listed is a cluster with ten pins, each pinned on p0 and failed on p1.
func listed(t *testing.T) (*cluster, []api.Pin) {
	t.Helper()
	c := &cluster{}
	var pins []api.Pin
	var infos []api.GlobalPinInfo
	for i := range 10 {
		p := api.NewPin(numberedCid(t, i), api.PinOptions{ReplicationFactorMin: -1, ReplicationFactorMax: -1, Name: fmt.Sprint("n", i%2), Metadata: map[string]string{"k": fmt.Sprint(i % 3)}}, time.Unix(int64(1_700_000_000+i), 0))
		pins = append(pins, p)
		infos = append(infos, api.GlobalPinInfo{Cid: p.Cid, Name: p.Name, Created: p.Timestamp, Metadata: p.Metadata,
			PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusPinned}, p1: {Status: api.StatusPinError}}})
	}
	c.all = seq(nil, pins...)
	c.list = func(api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] { return seq(nil, infos...) }
	c.status = func(id api.Cid) (api.GlobalPinInfo, error) {
		for _, g := range infos {
			if g.Cid == id {
				g.PeerMap = map[string]api.PinInfoShort{p0: {Status: api.StatusPinned}, p1: {Status: api.StatusPinError}}
				return g, nil
			}
		}
		return api.GlobalPinInfo{}, api.NotFound.Errorf("no")
	}
	return c, pins
}

func TestLists_GoByPages(t *testing.T) {
	c, _ := listed(t)
	url := c.serve(t)
	for query, want := range map[string]int{
		"/allocations?": 10, "/allocations?name=n1&": 5, "/allocations?name-prefix=n&meta-k=0&": 4, "/allocations?name-contains=0&": 5,
		"/allocations?since=2023-11-14T22:13:25Z&": 5, "/allocations?before=2023-11-14T22:13:22Z&": 2, "/allocations?name=no&": 0,
		"/pins?": 10, "/pins?name=n1&": 5, "/pins?name=n1&filter=error&": 5, "/pins?meta-k=2&local=true&": 3, "/pins?name-contains=1&": 5,
		"/pins?name-prefix=n&since=2023-11-14T22:13:25Z&": 5, "/pins?peer=" + p1 + "&name=n0&": 5, "/pins?name-contains=n&peer=" + p1 + "&": 10,
	} {
		seen, cursor, pages := map[string]bool{}, "", 0
		for {
			res, body := do(t, "GET", url+query+"limit=3&fields=cid&cursor="+cursor, nil)
			if res.StatusCode/100 != 2 {
				t.Fatalf("%s: %d %s", query, res.StatusCode, body)
			}
			for line := range strings.Lines(body) {
				if seen[line] || !strings.HasPrefix(line, `{"cid":"`) {
					t.Errorf("%s: %s", query, line)
				}
				seen[line] = true
			}
			pages++
			if cursor = res.Header.Get(api.CursorHeader); cursor == "" {
				break
			}
		}
		if len(seen) != want || pages != max(1, (want+2)/3) {
			t.Errorf("%s: got %d rows on %d pages, want %d", query, len(seen), pages, want)
		}
		{
			_, body := do(t, "GET", url+query+"count=true", nil)
			counted := want
			if query == "/allocations?" || query == "/pins?" {
				counted = 42 // kept, not counted
			}
			if strings.TrimSpace(body) != fmt.Sprintf(`{"count":%d}`, counted) {
				t.Errorf("%s: got %s, want %d", query, body, counted)
			}
		}
		if _, body := do(t, "GET", url+query, nil); strings.Count(body, "\n") != want {
			t.Errorf("%s: %d rows streamed, want %d", query, strings.Count(body, "\n"), want)
		}
	}
}

func TestLists_CompactRows(t *testing.T) {
	c, pins := listed(t)
	url := c.serve(t)
	for query, want := range map[string]string{
		"/allocations?fields=name,cid":                      fmt.Sprintf(`{"name":"n0","cid":"%s"}`, pins[0].Cid),
		"/allocations?fields=expire_at,type":                `{"expire_at":"0001-01-01T00:00:00Z","type":"pin"}`,
		"/pins?fields=status,name":                          fmt.Sprintf(`{"status":{"%s":"pinned","%s":"pin_error"},"name":"n0"}`, p0, p1),
		"/pins?name=n0&filter=pin_error&fields=status,cid&": fmt.Sprintf(`{"status":{"%s":"pin_error"},"cid":"%s"}`, p1, pins[0].Cid),
	} {
		_, body := do(t, "GET", url+query, nil)
		if line, _, _ := strings.Cut(body, "\n"); line != want {
			t.Errorf("%s: got %s, want %s", query, line, want)
		}
	}
}

func TestLists_RefuseBadInput(t *testing.T) {
	c, _ := listed(t)
	url := c.serve(t)
	for _, q := range []string{"limit=0", "limit=-1", "limit=10001", "limit=a", "limit=1&limit=2", "limit=99999999999999999999", "cursor=!",
		"cursor=%00", "cursor=" + strings.Repeat("a", 1025), "peer=me", "since=yesterday", "before=1", "since=%ff", "name=%ff", "name=a&name=b", "meta-=a",
		"meta-k=%ff", "meta-k=a&meta-k=b", "count=maybe", "count=true&limit=3", "count=true&fields=cid", "fields=", "fields=,", "fields=nothing", "fields=cid,cid",
		"consistency=eventual", "consistency=linearizable&consistency=local", "index=-1", "index=a", "index=99999999999999999999"} {
		for _, path := range []string{"/allocations", "/pins"} {
			res, body := do(t, "GET", url+path+"?"+q, nil)
			if res.StatusCode != http.StatusBadRequest || strings.Count(body, `"message":"`) != 1 {
				t.Errorf("%s?%s: got %d %s", path, q, res.StatusCode, body)
			}
		}
	}
	for _, q := range []string{"limit=2", "name=a", "meta-a=b", "fields=cid", "count=true"} {
		if res, body := do(t, "GET", url+"/pins?cids="+cid0+"&"+q, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("cids beside %s: got %d %s", q, res.StatusCode, body)
		}
	}
}

func TestReads_WaitForTheLog(t *testing.T) {
	for _, path := range []string{"/allocations", "/allocations/" + cid0, "/pins", "/pins/" + cid0} {
		c, pins := listed(t)
		c.get = func(api.Cid) (api.Pin, error) { return pins[0], nil }
		c.status = func(id api.Cid) (api.GlobalPinInfo, error) { return api.GlobalPinInfo{Cid: id}, nil }
		url := c.serve(t)
		for _, q := range []string{"?consistency=local", "?index=5", "?consistency=linearizable", "?index=0"} {
			if res, body := do(t, "GET", url+path+q, nil); res.StatusCode != http.StatusOK {
				t.Errorf("%s%s: got %d %s", path, q, res.StatusCode, body)
			}
		}
		if got := c.effects(); got != "index 5,index 0,current" {
			t.Errorf("%s: it waited for %s", path, got)
		}
		c.behind = api.Unavailable.Errorf("this peer is at index 3, not yet at 5")
		res, body := do(t, "GET", url+path+"?index=5", nil)
		if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "at index 3") {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
		c.behind = api.Invalid.Errorf("index 5 is not in the cluster's log: the last one is 3")
		res, body = do(t, "GET", url+path+"?index=5", nil)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "the last one is 3") {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
	}
}
