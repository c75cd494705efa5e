package rest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// accept answers every request, counting indexes up.
func accept(batches *[][]api.Request) func(reqs []api.Request) []api.Result {
	var index atomic.Uint64
	return func(reqs []api.Request) []api.Result {
		if batches != nil {
			*batches = append(*batches, append([]api.Request(nil), reqs...))
		}
		results := make([]api.Result, len(reqs))
		for i, r := range reqs {
			results[i] = api.Result{Pin: r.Pin, Index: index.Add(1)}
		}
		return results
	}
}

func numberedCid(t testing.TB, n int) api.Cid {
	t.Helper()
	h, err := multihash.Sum([]byte(fmt.Sprint(n)), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, h)}
}

func TestBulk_AnswersEachLine(t *testing.T) {
	var batches [][]api.Request
	c := &cluster{pinMany: func(reqs []api.Request) []api.Result {
		results := accept(&batches)(reqs)
		for i, r := range reqs {
			if r.Type == api.RequestUnpin {
				results[i] = api.Result{Fault: api.FaultOf(api.NotFound.Errorf("pin is not part of the pinset"))}
			}
		}
		return results
	}}
	lines := []string{
		`{"cid":"` + cid0 + `","name":"a","replication_factor_min":1,"replication_factor_max":2,"metadata":{"k":"v"},"user_allocations":["` + p0 + `"],"mode":"direct"}`,
		`{"op":"unpin","cid":"` + cid1 + `"}`,
		``,
		`  `,
		`{"cid":"nonsense"}`,
		`{"cid":`,
		`{"name":"x"}`,
		`{"cid":"` + cid1 + `","replication_factor_min":3,"replication_factor_max":2}`,
		`{"cid":"` + cid1 + `","op":"frobnicate"}`,
		`{"cid":"` + cid1 + `","type":"meta-pin"}`,
		`{"cid":"` + cid1 + `","expire_at":"2020-01-01T00:00:00Z"}`,
		`{"cid":"` + cid1 + `","origins":["/ip4/1.2.3.4/tcp/1"]}`,
		`{"cid":"` + cid1 + `","origins":[null]}`,
		`{"cid":"` + cid1 + `","metadata":{"":"v"}}`,
		`{"cid":"` + cid1 + `","name":"` + strings.Repeat("x", maxBulkLine) + `"}`,
		`{"cid":"` + cid1 + `","name":"` + strings.Repeat("x", 17<<10) + `"}`,
		`[]`,
		`{"cid":"` + cid1 + `","replication":2}`,
		`{"cid":"` + cid1 + `"} {"cid":"` + cid1 + `"}`,
		// A line of an export goes in as it is.
		`{"replication_factor_min":-1,"replication_factor_max":-1,"name":"","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":null,"pin_update":null,"origins":[],"cid":"` + cid1 + `","type":"pin","allocations":["` + p1 + `"],"max_depth":-1,"reference":null,"timestamp":"2026-11-20T23:47:19Z"}`,
	}
	res, body := do(t, "POST", c.serve(t)+"/pins", strings.NewReader(strings.Join(lines, "\n"))) // no newline at the end
	if res.StatusCode != 200 || res.Trailer.Get("X-Stream-Error") != "" {
		t.Fatalf("got %d, trailer %q", res.StatusCode, res.Trailer)
	}
	var got []string
	for line := range strings.Lines(body) {
		var r api.BulkResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		s := fmt.Sprintf("%d %v %d", r.Line, r.Cid.Defined(), r.Index)
		if r.Error != nil {
			s += fmt.Sprintf(" %d", r.Error.Code)
			if r.Line == 18 && !strings.Contains(r.Error.Message, `"replication"`) {
				t.Errorf("got %q, want the unknown key named", r.Error.Message)
			}
			if strings.HasPrefix(r.Error.Message, "line ") != (r.Error.Code != 404) || r.Error.Code != 404 && !strings.HasPrefix(r.Error.Message, fmt.Sprintf("line %d", r.Line)) {
				t.Errorf("line %d: got message %q", r.Line, r.Error.Message)
			}
		}
		got = append(got, s)
	}
	want := []string{"1 true 1", "2 true 0 404", "5 false 0 400", "6 false 0 400", "7 false 0 400", "8 true 0 400", "9 true 0 400", "10 true 0 400",
		"11 true 0 400", "12 true 0 400", "13 true 0 400", "14 true 0 400", "15 false 0 413", "16 true 0 413", "17 false 0 400", "18 true 0 400", "19 true 0 400"}
	if len(got) != len(want)+1 || !strings.HasPrefix(got[len(want)], "20 true ") || strings.Count(got[len(want)], " ") != 2 {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	var all []api.Request
	for _, b := range batches {
		all = append(all, b...)
	}
	if len(all) != 3 {
		t.Fatalf("got %d requests, want only the three good ones", len(all))
	}
	p := all[0].Pin
	if all[0].Type != api.RequestPin || p.Name != "a" || p.ReplicationFactorMax != 2 || p.Metadata["k"] != "v" || p.UserAllocations[0].String() != p0 || p.MaxDepth != 0 || p.Type != api.PinData {
		t.Errorf("got %+v", all[0])
	}
	if all[1].Type != api.RequestUnpin || all[1].Pin.Cid.String() != cid1 {
		t.Errorf("got %+v", all[1])
	}
	if e := all[2].Pin; e.Allocations != nil || e.ReplicationFactorMin != -1 || e.MaxDepth != -1 {
		t.Errorf("an export's line: got %+v", e)
	}
}

func TestBulk_NothingIsNoContent(t *testing.T) {
	c := &cluster{}
	if res, body := do(t, "POST", c.serve(t)+"/pins", strings.NewReader("\n\n")); res.StatusCode != 204 || body != "" || c.effects() != "" {
		t.Fatalf("got %d %s, calls %s", res.StatusCode, body, c.effects())
	}
}

// A client that sends one line and waits for its result before the next is answered.
func TestBulk_AnswersWhileTheBodyIsOpen(t *testing.T) {
	c := &cluster{pinMany: accept(nil)}
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(w, `{"cid":"%s"}`+"\n", cid0)
		first <- err
	}()
	res, err := http.Post(c.serve(t)+"/pins", "", r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for i := 1; i <= 5; i++ {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf(`{"line":%d,"cid":"%s","index":%d}`+"\n", i, cid0, i); err != nil || line != want {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
		if i < 5 {
			if _, err := fmt.Fprintf(w, `{"cid":"%s"}`+"\n", cid0); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Fatalf("got %q, %v", rest, err)
	}
}

func TestBulk_ManyLinesInOrder(t *testing.T) {
	const n = 20000
	var batches [][]api.Request
	c := &cluster{pinMany: accept(&batches)}
	url := c.serve(t)
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriter(w)
		for i := range n {
			fmt.Fprintf(out, `{"cid":"%s"}`+"\n", numberedCid(t, i))
		}
		w.CloseWithError(out.Flush())
	}()
	res, err := http.Post(url+"/pins", "", r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	dec := json.NewDecoder(res.Body)
	for i := range n {
		var got api.BulkResult
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("result %d: %v", i, err)
		}
		if got.Line != i+1 || got.Index != uint64(i+1) || got.Cid != numberedCid(t, i) {
			t.Fatalf("got %+v for line %d", got, i+1)
		}
	}
	for _, b := range batches {
		if len(b) > bulkBatch {
			t.Errorf("a batch of %d", len(b))
		}
	}
}

// What came whole before an upload broke off is done; half a line is not.
func TestBulk_BrokenUploadEndsWithAnError(t *testing.T) {
	done := make(chan []api.Request, 10)
	c := &cluster{pinMany: func(reqs []api.Request) []api.Result {
		done <- reqs
		return accept(nil)(reqs)
	}}
	url := c.serve(t)
	r, w := io.Pipe()
	go func() {
		fmt.Fprintf(w, `{"cid":"%s"}`+"\n"+`{"cid":"%s"}`, cid0, cid1)
		w.CloseWithError(errors.New("unplugged"))
	}()
	res, err := http.Post(url+"/pins", "", r)
	if err == nil {
		res.Body.Close()
	}
	select {
	case reqs := <-done:
		if len(reqs) != 1 || reqs[0].Pin.Cid.String() != cid0 {
			t.Fatalf("got %+v, want the whole line only", reqs)
		}
	case <-time.After(time.Minute):
		t.Fatal("the whole line was not done")
	}
	select {
	case reqs := <-done:
		t.Fatalf("got %+v of half a line", reqs)
	default:
	}
}

// A body that breaks off ends no commit that is under way, and is the client's fault.
func TestBulk_BrokenBodyEndsNoCommit(t *testing.T) {
	c := &cluster{pinMany: func(reqs []api.Request) []api.Result {
		<-time.After(200 * time.Millisecond) // the fault is read meanwhile
		return accept(nil)(reqs)
	}}
	line := fmt.Sprintf(`{"cid":"%s"}`+"\n", cid0)
	answer := apitest.SendRaw(t, strings.TrimPrefix(c.serve(t), "http://"), fmt.Sprintf(
		"POST /pins HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n", len(line), line))
	if !strings.Contains(answer, fmt.Sprintf(`{"line":1,"cid":"%s","index":1}`, cid0)) || !strings.Contains(answer, "X-Pinfold-Error-Code: 400") {
		t.Errorf("got %q", answer)
	}
}

func TestBulk_StopsReadingWhenTheClientTakesNoResults(t *testing.T) {
	// The client has gone: the handler must end although the body is still open.
	c := &cluster{pinMany: accept(nil)}
	h := c.handler()
	ended := make(chan bool, 1)
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(failingWriter{w}, r)
		ended <- true
	})}
	l := listenLocal(t)
	go s.Serve(l)
	defer s.Close()
	r, w := io.Pipe()
	defer w.Close()
	go fmt.Fprintf(w, `{"cid":"%s"}`+"\n", cid0)
	go func() {
		if res, err := http.Post("http://"+l.Addr().String()+"/pins", "", r); err == nil {
			res.Body.Close()
		}
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the handler waits for more lines")
	}
}

func TestParseBulk_SaysWhatIsWrong(t *testing.T) {
	const c = `{"cid":"` + cid0 + `"`
	for text, want := range map[string]string{
		`"x"`:                                "line 7: a JSON string, not an object",
		`{"cid":5}`:                          "line 7: a CID must be a string: json: cannot unmarshal number into Go value of type string",
		`5`:                                  "line 7: a JSON number, not an object",
		c + `,"replication_factor_min":"2"}`: `line 7: "replication_factor_min" cannot be a JSON string`,
		c + `,"metadata":{"a":1}}`:           `line 7: "metadata" cannot be a JSON number`,
		c + `,"name":"` + "\xff" + `"}`:      "line 7: it is not UTF-8",
		c + `,"replicas":2}`:                 `line 7: json: unknown field "replicas"`,
	} {
		req, err := parseBulk([]byte(text), 7, time.Now())
		if api.KindOf(err) != api.Invalid || err.Error() != want || req.Pin.Cid.Defined() != strings.HasPrefix(text, c) {
			t.Errorf("%s: got %v of %v, want %q", text, err, req.Pin.Cid, want)
		}
	}
}

func FuzzParseBulk(f *testing.F) {
	for _, s := range []string{`{"cid":"` + cid0 + `"}`, `{"op":"unpin","cid":"` + cid1 + `"}`, `{"cid":null,"metadata":{"a":"b"}}`, `{"cid":"` + cid0 + `","origins":[null,"/ip4/1.2.3.4/tcp/1/p2p/` + p0 + `"]}`,
		`{"cid":"` + cid0 + `","expire_at":"9999-12-31T23:59:59-23:59","name":"\ud800"}`, `{"cid":"` + cid0 + `","user_allocations":["` + p0 + `",""]}`, `{`, `null`, `[]`, "{\"name\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		req, err := parseBulk(text, 1, now)
		if err != nil {
			if k := api.KindOf(err); k != api.Invalid && k != api.TooLarge {
				t.Fatalf("%v is a %s", err, k)
			}
			return
		}
		if !req.Pin.Cid.Defined() || req.Type == 0 {
			t.Fatalf("got %+v", req)
		}
		b, err := api.Encode(req)
		if err != nil || len(b) > api.MaxRecordSize {
			t.Fatalf("request of %d bytes: %v", len(b), err)
		}
		var back api.Request
		if err := api.Decode(b, &back); err != nil {
			t.Fatalf("what was let in cannot be read back: %v", err)
		}
	})
}
