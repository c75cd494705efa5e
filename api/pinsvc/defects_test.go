package pinsvc

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pinfold-cluster/pinfold/api/web"
)

// D13: wrong codes (200, or 500 for what the caller did wrong), lists in no order, a CID
// for a requestid, and a replacement by the same CID that pinned it and then unpinned it.
func TestD13_CodesOrderIDsAndReplacement(t *testing.T) {
	c := newCluster(t, web.Options{})
	cid := testCid(1)
	body := func(name string) string { return fmt.Sprintf(`{"cid":%q,"name":%q}`, cid, name) }
	first := decode[pinStatus](t, c.ask("POST", "/pins", body("first")), 202)
	for i := range 5 {
		c.add(2+i, fmt.Sprint("pin ", i))
	}
	if first.RequestID == cid.String() {
		t.Error("the requestid is the CID: a second request for it would be the first")
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/pins", "{}", 400}, {"POST", "/pins", `{"cid":"x"}`, 400}, {"GET", "/pins?limit=x", "", 400},
		{"GET", "/pins/nothing", "", 404}, {"POST", "/pins/nothing", body("x"), 404}, {"DELETE", "/pins/nothing", "", 404},
	} {
		if w := c.ask(tt.method, tt.path, tt.body); w.Code != tt.code {
			t.Errorf("%s %s %s: got %d %s, want %d", tt.method, tt.path, tt.body, w.Code, w.Body, tt.code)
		}
	}
	var page struct{ Results []pinStatus }
	if err := json.Unmarshal(c.ask("GET", "/pins", "").Body.Bytes(), &page); err != nil || len(page.Results) != 6 {
		t.Fatalf("got %d, %v", len(page.Results), err)
	}
	for i, r := range page.Results[1:] {
		if r.Created.After(page.Results[i].Created) {
			t.Errorf("%s, made at %s, comes after one of %s: the newest are not first", r.RequestID, r.Created, page.Results[i].Created)
		}
	}

	replaced := decode[pinStatus](t, c.ask("POST", "/pins/"+first.RequestID, body("second")), 202)
	if p, err := c.st.Get(t.Context(), cid); err != nil {
		t.Fatalf("replaced by the same CID, the pin is gone: %v, %+v", err, p)
	}
	if w := c.ask("GET", "/pins/"+first.RequestID, ""); w.Code != 404 {
		t.Errorf("the request replaced is there still: %d %s", w.Code, w.Body)
	}
	if w := c.ask("DELETE", "/pins/"+replaced.RequestID, ""); w.Code != 202 {
		t.Errorf("delete: got %d %s", w.Code, w.Body)
	}
	if _, err := c.st.Get(t.Context(), cid); err == nil {
		t.Error("the last request is gone, and the pin is not")
	}
}
