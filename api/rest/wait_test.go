package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestWait_TellsWhatCameOfIt(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	pinned := func(_ context.Context, id api.Cid) (api.GlobalPinInfo, bool, error) {
		return api.GlobalPinInfo{Cid: id, PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusPinned}}}, true, nil
	}
	for name, tt := range map[string]struct {
		await func(context.Context, api.Cid) (api.GlobalPinInfo, bool, error)
		want  api.TrackerStatus
	}{"pinned": {pinned, api.StatusPinned}, "too late": {nil, api.StatusPinning}} {
		c.await = tt.await
		for _, path := range []string{"/pins/" + cid0, "/pins/ipfs/" + cid0} {
			res, body := do(t, "POST", url+path+"?name=a&wait=pinned&timeout=10ms", nil)
			var got api.WaitedPin
			if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != http.StatusOK || res.Header.Get(api.IndexHeader) != "7" {
				t.Fatalf("%s: got %d %s", name, res.StatusCode, body)
			}
			if got.Name != "a" || got.Wait.Pinned != (tt.await != nil) || got.Wait.PeerMap[p0].Status != tt.want {
				t.Errorf("%s: got %+v", name, got)
			}
		}
	}
}

func TestWait_OfAStatus(t *testing.T) {
	c := &cluster{}
	c.await = func(_ context.Context, id api.Cid) (api.GlobalPinInfo, bool, error) {
		return api.GlobalPinInfo{Cid: id, Name: "waited for", PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusPinned}}}, true, nil
	}
	url := c.serve(t)
	res, body := do(t, "GET", url+"/pins/"+cid0+"?wait=pinned&timeout=1m", nil)
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "waited for") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	for _, q := range []string{"wait=forever", "wait=pinned&timeout=0s", "timeout=1s", "wait=pinned&local=true"} {
		if res, body := do(t, "GET", url+"/pins/"+cid0+"?"+q, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", q, res.StatusCode, body)
		}
	}
}

func TestWait_OfAnAddIsItsLastLine(t *testing.T) {
	c := &cluster{}
	root := numberedCid(t, 1)
	c.add = func(_ context.Context, _ files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
		return api.Pin{Cid: root}, out(api.AddedOutput{Name: "f", Cid: root})
	}
	url := c.serve(t)
	for _, channels := range []string{"true", "false"} {
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n"
		res, text := do(t, "POST", url+"/add?wait=pinned&timeout=10ms&stream-channels="+channels, strings.NewReader(body), "Content-Type", "multipart/form-data; boundary=b")
		if res.StatusCode != http.StatusOK || strings.Count(text, `"wait":{"pinned":false,"peer_map":{`) != 1 || !strings.Contains(text, `"name":"f"`) {
			t.Errorf("stream-channels=%s: got %d %s", channels, res.StatusCode, text)
		}
	}
}

func TestWait_RefusesBadInputBeforeAnythingHappens(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	for _, q := range []string{"wait=forever", "wait=pinned&timeout=1", "wait=pinned&timeout=-1s", "wait=pinned&timeout=0s", "wait=pinned&timeout=9999h",
		"wait=pinned&timeout=a", "timeout=1s", "wait=pinned&wait=pinned", "wait=%ff", "wait=pinned&timeout=%ff"} {
		for _, path := range []string{"/pins/" + cid0, "/pins/ipfs/" + cid0, "/add"} {
			res, body := do(t, "POST", url+path+"?"+q, nil)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"message":"`) {
				t.Errorf("%s?%s: got %d %s", path, q, res.StatusCode, body)
			}
		}
	}
	if got := c.effects(); got != "" {
		t.Errorf("effects: %s", got)
	}
}

// More than a thousand do not wait at once, and a place is given back.
func TestWait_IsBounded(t *testing.T) {
	h := &handler{Parts: Parts{Feed: &cluster{}}, waiting: make(chan struct{}, 1)}
	q := map[string][]string{"wait": {"pinned"}}
	first, err := h.waitParam(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.waitParam(q); api.KindOf(err) != api.Unavailable {
		t.Errorf("the second: got %v, want Unavailable", err)
	}
	first.done()
	if _, err := h.waitParam(q); err != nil {
		t.Errorf("after the first: %v", err)
	}
}
