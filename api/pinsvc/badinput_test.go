package pinsvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const goodCid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"

// What is wrong with a request is told in one object, with 4xx, and changes nothing.
func TestBadInput(t *testing.T) {
	c := newCluster(t, web.Options{})
	is := c.add(1, "there")
	before := c.written()
	origin := "/ip4/127.0.0.1/tcp/4001/p2p/" + testPeer(0).String()
	pin := func(rest string) string { return `{"cid":"` + goodCid + `",` + rest + `}` }
	many := func(n int, f func(i int) string) string {
		var parts []string
		for i := range n {
			parts = append(parts, f(i))
		}
		return strings.Join(parts, ",")
	}
	q := url.QueryEscape
	type bad struct {
		method, path, body string
		code               int
		says               string
	}
	list := func(query, says string) bad { return bad{"GET", "/pins?" + query, "", 400, says} }
	post := func(body, says string) bad { return bad{"POST", "/pins", body, 400, says} }
	for name, tt := range map[string]bad{
		"no such path":        {"GET", "/", "", 404, "no such path"},
		"no such method":      {"PUT", "/pins", "", 405, "PUT"},
		"method of a request": {"PATCH", "/pins/" + is.RequestID, "", 405, "PATCH"},
		"list by HEAD":        {"HEAD", "/pins", "", 405, ""},

		"unknown parameter":      list("cids=a", "cids"),
		"a list twice":           list("name=a&name=b", "2 times"),
		"escape":                 list("name=%zz", "query"),
		"semicolon":              list("name=a;b", "query"),
		"name not UTF-8":         list("name=%ff", "UTF-8"),
		"name too long":          list("name="+strings.Repeat("é", 256), "256 characters"),
		"match":                  list("match=fuzzy", "fuzzy"),
		"match in capitals":      list("match=EXACT", "EXACT"),
		"match empty":            list("match=", "match"),
		"limit zero":             list("limit=0", "1 to 1000"),
		"limit below":            list("limit=-1", "1 to 1000"),
		"limit above":            list("limit=1001", "1 to 1000"),
		"limit huge":             list("limit=99999999999999999999", "1 to 1000"),
		"limit empty":            list("limit=", "1 to 1000"),
		"limit a word":           list("limit=ten", "ten"),
		"status unknown":         list("status=done", "done"),
		"status one unknown":     list("status=pinned,done", "done"),
		"status empty":           list("status=", "empty"),
		"status commas":          list("status=,,", "empty"),
		"before a word":          list("before=yesterday", "yesterday"),
		"before a day":           list("before=2026-11-21", "RFC 3339"),
		"before empty":           list("before=", "RFC 3339"),
		"after a number":         list("after=1700000000", "RFC 3339"),
		"cid wrong":              list("cid=x", `"x"`),
		"cid one wrong":          list("cid="+goodCid+",x", `"x"`),
		"cid empty":              list("cid=", "empty"),
		"cids too many":          list("cid="+strings.Repeat(goodCid+",", 11), "at most 10"),
		"cids too many repeated": list(strings.Repeat("cid="+goodCid+"&", 11), "at most 10"),
		"meta no JSON":           list("meta=a", "meta"),
		"meta empty":             list("meta=", "meta"),
		"meta a list":            list("meta="+q(`["a"]`), "meta"),
		"meta of numbers":        list("meta="+q(`{"a":1}`), "meta"),
		"meta of objects":        list("meta="+q(`{"a":{}}`), "meta"),
		"meta empty key":         list("meta="+q(`{"":"a"}`), "empty"),
		"meta and more":          list("meta="+q(`{"a":"b"} x`), "meta"),

		"no body":               post("", "empty"),
		"blank body":            post(" \n", "empty"),
		"no JSON":               post("cid", "no Pin"),
		"half JSON":             post(`{"cid":"`, "no Pin"),
		"JSON and more":         post(`{"cid":"`+goodCid+`"} x`, "goes on"),
		"two objects":           post(`{"cid":"`+goodCid+`"}{}`, "goes on"),
		"a list":                post(`[]`, "no Pin"),
		"null":                  post(`null`, "no cid"),
		"not UTF-8":             post("{\"cid\":\"\xff\"}", "UTF-8"),
		"no cid":                post(`{}`, "no cid"),
		"null cid":              post(`{"cid":null}`, "no cid"),
		"empty cid":             post(`{"cid":""}`, "no cid"),
		"number cid":            post(`{"cid":1}`, `"cid" cannot be a JSON number`),
		"array for an object":   post(`[1]`, "it is a JSON array"),
		"number in meta":        post(`{"cid":"`+goodCid+`","meta":{"a":1}}`, "cannot be a JSON number"),
		"wrong cid":             post(`{"cid":"x"}`, "cannot be read"),
		"path for a cid":        post(`{"cid":"/ipfs/`+goodCid+`"}`, "cannot be read"),
		"cut cid":               post(`{"cid":"`+goodCid[:30]+`"}`, "cannot be read"),
		"huge cid":              post(`{"cid":"`+hugeCid()+`"}`, "at most 256"),
		"name a number":         post(pin(`"name":1`), "no Pin"),
		"body name too long":    post(pin(`"name":"`+strings.Repeat("é", 256)+`"`), "256 characters"),
		"origins a string":      post(pin(`"origins":"a"`), "no Pin"),
		"origin wrong":          post(pin(`"origins":["a"]`), "multiaddr"),
		"origin empty":          post(pin(`"origins":[""]`), "multiaddr"),
		"origin without peer":   post(pin(`"origins":["/ip4/127.0.0.1/tcp/1"]`), "/p2p/"),
		"origin twice":          post(pin(`"origins":["`+origin+`","`+origin+`"]`), "twice"),
		"too many origins":      post(pin(`"origins":[`+many(21, func(i int) string { return fmt.Sprintf("%q", strings.Replace(origin, "4001", fmt.Sprint(i+1), 1)) })+`]`), "at most 20"),
		"meta a string":         post(pin(`"meta":"a"`), "no Pin"),
		"meta of a number":      post(pin(`"meta":{"a":1}`), "no Pin"),
		"meta with empty key":   post(pin(`"meta":{"":"a"}`), "empty"),
		"meta of too many":      post(pin(`"meta":{`+many(1001, func(i int) string { return fmt.Sprintf(`"%d":""`, i) })+`}`), "at most 1000"),
		"more than a record":    {"POST", "/pins", pin(`"meta":{"a":"` + strings.Repeat("x", 20<<10) + `"}`), 413, "more than 16384"},
		"more than a body":      {"POST", "/pins", pin(`"name":"` + strings.Repeat("x", maxBody) + `"`), 413, "over 65536"},
		"deep":                  post(strings.Repeat(`{"meta":`, 5_000)+"1", "no Pin"),
		"body of a list":        {"GET", "/pins", strings.Repeat("x", maxBody+1), 413, "over 65536"},
		"body of a delete":      {"DELETE", "/pins/" + is.RequestID, strings.Repeat("x", maxBody+1), 413, "over 65536"},
		"replace with no cid":   {"POST", "/pins/" + is.RequestID, `{}`, 400, "no cid"},
		"replace with too much": {"POST", "/pins/" + is.RequestID, pin(`"meta":{"a":"` + strings.Repeat("x", 20<<10) + `"}`), 413, "more than 16384"},

		"unknown":           {"GET", "/pins/" + goodCid, "", 404, "no pin request"},
		"unknown id":        {"GET", "/pins/" + is.RequestID + "0", "", 404, "no pin request"},
		"cid of a request":  {"DELETE", "/pins/" + testCid(1).String(), "", 404, "no pin request"},
		"no id after dash":  {"DELETE", "/pins/" + testCid(1).String() + "-", "", 404, "no pin request"},
		"no requestid":      {"DELETE", "/pins/x", "", 404, "no pin request"},
		"strange requestid": {"GET", "/pins/%00%ff", "", 404, "no pin request"},
		"slash in it":       {"GET", "/pins/..%2f" + is.RequestID, "", 404, "no pin request"},
		"dots":              {"DELETE", "/pins/../pins/" + is.RequestID, "", 404, ""},
		"long requestid":    {"GET", "/pins/" + strings.Repeat("a", 3000), "", 404, "no pin request"},
	} {
		t.Run(name, func(t *testing.T) {
			done := time.AfterFunc(time.Minute, func() { panic(name + " hangs") })
			defer done.Stop()
			w := c.ask(tt.method, tt.path, tt.body)
			if w.Code != tt.code {
				t.Fatalf("got %d, want %d: %s", w.Code, tt.code, w.Body)
			}
			if tt.code == 405 && w.Header().Get("Allow") == "" {
				t.Fatal("it is not told what is allowed")
			}
			d := json.NewDecoder(w.Body)
			var f failure
			if err := d.Decode(&f); err != nil || d.More() {
				t.Fatalf("not one object: %v: %s", err, w.Body)
			}
			if f.Error.Reason != reasons[tt.code] || !strings.Contains(f.Error.Details, tt.says) {
				t.Fatalf("got %+v, want %q", f.Error, tt.says)
			}
		})
	}
	if after := c.written(); after != before {
		t.Fatalf("%d of them changed something", after-before)
	}
	c.wantList("", "there")
}

// hugeCid is the text of a CID over the limit, of the identity hash.
func hugeCid() string {
	b := append([]byte{1, 0x55, 0, 0xac, 2}, make([]byte, 300)...)
	return "f" + fmt.Sprintf("%x", b)
}

// What the specification allows and is unusual.
func TestGoodInput(t *testing.T) {
	c := newCluster(t, web.Options{})
	for name, body := range map[string]string{
		"the longest name":  fmt.Sprintf(`{"cid":%q,"name":%q}`, goodCid, strings.Repeat("é", 255)),
		"null for absent":   fmt.Sprintf(`{"cid":%q,"name":null,"origins":null,"meta":null}`, goodCid),
		"what is not known": fmt.Sprintf(`{"cid":%q,"policy":{"a":[1]}}`, goodCid),
		"version 0":         `{"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"}`,
	} {
		if w := c.ask("POST", "/pins", body); w.Code != 202 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"", "limit=1", "cid=" + goodCid, "status=pinned,queued", "name=a&match=ipartial", "meta=%7B%22a%22%3A%22b%22%7D",
		"before=2026-11-21T08:30:00.5Z&after=0001-01-01T00:00:00Z", "%", "cid=,&status=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err != nil {
			if api.KindOf(err) != api.Invalid {
				t.Fatalf("%q: %v is no fault of the caller", raw, err)
			}
			return
		}
		if q.limit < 1 || q.limit > maxLimit || len(q.cids) > maxCids || len(q.meta) > maxMeta || len(q.statuses) > len(allStatuses) {
			t.Fatalf("%q: over the limits: %+v", raw, q)
		}
		for _, c := range q.cids {
			if !c.Defined() {
				t.Fatalf("%q: an undefined CID", raw)
			}
		}
		q.matches(api.PinRequest{Name: "n"}, time.Now())
	})
}

func FuzzParsePin(f *testing.F) {
	for _, s := range []string{`{"cid":"` + goodCid + `"}`, `{"cid":"` + goodCid + `","name":"n","meta":{"a":"b"},"origins":[]}`, `{}`, `null`, `[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePin(text)
		if err != nil {
			if api.KindOf(err) != api.Invalid {
				t.Fatalf("%q: %v is no fault of the caller", text, err)
			}
			return
		}
		if !p.Cid.Defined() || len(p.Origins) > maxOrigins || len(p.Meta) > maxMeta {
			t.Fatalf("%q: %+v", text, p)
		}
	})
}

func FuzzRequestName(f *testing.F) {
	f.Add(goodCid)
	f.Add(goodCid + "-00ff")
	f.Add("-")
	f.Fuzz(func(t *testing.T, s string) {
		c, id, err := api.ParseRequestName(s)
		if err != nil {
			return
		}
		again, sameID, err := api.ParseRequestName(api.Pin{Cid: c}.RequestName(api.PinRequest{ID: id}))
		if err != nil || again != c || sameID != id {
			t.Fatalf("%q: %s, %q, then %s, %q, %v", s, c, id, again, sameID, err)
		}
	})
}

// What net/http refuses by itself is a Failure, as the specification has it.
func TestWordsWhatNetHTTPRefuses(t *testing.T) {
	c := newCluster(t, web.Options{})
	s, err := web.New(web.Options{HTTPListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0"}},
		New(Parts{Pins: c.p, Pinset: c.st, Tracker: c, Peers: c}, quiet), quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	apitest.RefusedRaw(t, s.Addrs()[0].String(), func(t *testing.T, _ int, _, body string) {
		var f failure
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil || f.Error.Reason == "" || f.Error.Details == "" || dec.More() {
			t.Errorf("got %q: %v; want one Failure", body, err)
		}
	})
}
