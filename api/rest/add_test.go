package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// readAll adds nothing: it reads dir whole and puts out each file's path and size.
func readAll(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
	return api.Pin{}, walk(dir, out)
}

func walk(dir files.Directory, out func(api.AddedOutput) error) error {
	return apitest.Walk(dir, func(name string, n files.Node) error {
		switch n := n.(type) {
		case *files.Symlink:
			return out(api.AddedOutput{Name: name + "->" + n.Target})
		case files.File:
			if _, err := n.Size(); !errors.Is(err, files.ErrNotSupported) {
				return fmt.Errorf("size of %s: %v", name, err)
			}
			size, err := io.Copy(io.Discard, n)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			return out(api.AddedOutput{Name: name, Size: uint64(size)})
		}
		return nil
	})
}

// form makes a multipart body of parts: name and content, a name with a slash at its
// end being a directory.
func form(t *testing.T, parts ...string) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	for i := 0; i < len(parts); i += 2 {
		kind, name := "application/octet-stream", parts[i]
		if strings.HasSuffix(name, "/") {
			kind, name = "application/x-directory", strings.TrimSuffix(name, "/")
		}
		if strings.HasPrefix(name, "@") {
			kind, name = "application/symlink", name[1:]
		}
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind},
			"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename="%s"`, url.QueryEscape(name))}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, parts[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body, w.FormDataContentType()
}

func TestAdd_StreamedAnswer(t *testing.T) {
	c := &cluster{add: readAll}
	body, kind := form(t, "d/", "", "d/one.txt", "four", "d/sub/two.txt", "seven77", "@d/link", "one.txt", "e f.txt", "")
	res, got := do(t, "POST", c.serve(t)+"/add", body, "Content-Type", kind)
	want := `{"name":"d/one.txt","cid":null,"size":4}
{"name":"d/sub/two.txt","cid":null,"size":7}
{"name":"d/link-\u003eone.txt","cid":null}
{"name":"e f.txt","cid":null}
`
	if res.StatusCode != 200 || got != want {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-cache", "X-Chunked-Output": "1"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if !res.Close {
		t.Error("the connection stays open")
	}
	// Announced, but not sent: there was no error.
	if v, ok := res.Trailer["X-Stream-Error"]; !ok || len(v) != 0 {
		t.Errorf("got trailer %q, want it announced and absent", res.Trailer)
	}
}

func TestAdd_BufferedAnswer(t *testing.T) {
	body, kind := form(t, "a", "1", "b", "22")
	for name, tc := range map[string]struct {
		add  func(context.Context, files.Directory, api.AddParams, func(api.AddedOutput) error) (api.Pin, error)
		code int
		want string
	}{
		"lines": {readAll, 200, `[{"name":"a","cid":null,"size":1},{"name":"b","cid":null,"size":2}]`},
		"nothing": {func(context.Context, files.Directory, api.AddParams, func(api.AddedOutput) error) (api.Pin, error) {
			return api.Pin{}, nil
		}, 200, "null"},
		"error": {func(_ context.Context, _ files.Directory, _ api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
			return api.Pin{}, errors.Join(out(api.AddedOutput{Name: "a"}), api.Full.Errorf("disk full on peer1"))
		}, 507, `{"code":507,"message":"disk full on peer1"}`},
	} {
		c := &cluster{add: tc.add}
		res, got := do(t, "POST", c.serve(t)+"/add?stream-channels=false", bytes.NewReader(body.Bytes()), "Content-Type", kind)
		if res.StatusCode != tc.code || got != tc.want+"\n" {
			t.Errorf("%s: got %d %s, want %d %s", name, res.StatusCode, got, tc.code, tc.want)
		}
	}
}

func TestAdd_StreamedErrorIsATrailer(t *testing.T) {
	c := &cluster{add: func(_ context.Context, _ files.Directory, _ api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
		return api.Pin{}, errors.Join(out(api.AddedOutput{Name: "a"}), errors.New("failed to put block on all destinations"))
	}}
	body, kind := form(t, "a", "1")
	res, got := do(t, "POST", c.serve(t)+"/add", body, "Content-Type", kind)
	if want := "failed to put block on all destinations"; res.StatusCode != 200 || res.Trailer.Get("X-Stream-Error") != want || res.Trailer.Get("X-Pinfold-Error-Code") != "500" {
		t.Fatalf("got %d %s, trailer %q", res.StatusCode, got, res.Trailer)
	}
}

// What is refused before anything is added has its own status, streamed or not.
func TestAdd_RefusalsHaveTheirOwnStatus(t *testing.T) {
	multi, multiType := form(t, "a", "1")
	noCAR, carType := form(t, "a.car", "this is no CAR")
	empty, emptyType := form(t)
	for name, tc := range map[string]struct {
		query, contentType string
		body               *bytes.Buffer
		c                  *cluster
		status             int
		message            string
	}{
		"too few peers":   {"replication=5", multiType, multi, &cluster{place: api.Invalid.Errorf("not enough peers")}, 400, "not enough peers"},
		"unknown peer":    {"user-allocations=" + p1, multiType, multi, &cluster{place: api.NotFound.Errorf("no peer")}, 404, "no peer"},
		"no quorum":       {"", multiType, multi, &cluster{place: api.Unavailable.Errorf("later")}, 503, "later"},
		"full":            {"", multiType, multi, &cluster{send: api.Full.Errorf("disk full")}, 507, "disk full"},
		"full on the way": {"", multiType, multi, &cluster{put: api.Full.Errorf("disk full")}, 507, "disk full"},
		"no CAR":          {"format=car", carType, noCAR, &cluster{}, 400, "reading the CAR"},
		"several CARs":    {"format=car", multiType, multi, &cluster{}, 400, "reading the CAR"},
		"nothing":         {"", emptyType, empty, &cluster{}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			url := tc.c.serve(t) + "/add?" + tc.query
			for _, stream := range []string{"true", "false"} {
				res, body := do(t, "POST", url+"&stream-channels="+stream, bytes.NewReader(tc.body.Bytes()), "Content-Type", tc.contentType)
				if res.StatusCode != tc.status || !strings.Contains(body, tc.message) {
					t.Errorf("stream %s: got %d %s, want %d", stream, res.StatusCode, body, tc.status)
				}
				refused(t, tc.c, res.StatusCode, body)
			}
		})
	}
}

// A client that sends all before it reads gets to read why it was refused.
func TestAdd_RefusalReachesWhoSendsFirst(t *testing.T) {
	u, err := url.Parse(new(cluster).serve(t))
	if err != nil {
		t.Fatal(err)
	}
	send := func(query string, size int) (answer []byte, err error) {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		body, kind := form(t, "a", strings.Repeat("x", size))
		head := fmt.Sprintf("POST /add?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", query, kind, body.Len())
		if _, err := conn.Write(append([]byte(head), body.Bytes()...)); err != nil {
			return nil, err
		}
		return io.ReadAll(conn)
	}
	for _, query := range []string{"chunker=magic", "progress=maybe", "format=car"} {
		size := 16 << 20
		answer, err := send(query, size)
		for ; err != nil && size > 1<<20; size /= 2 { // it is read for a second, which is little for a slow machine
			answer, err = send(query, size/2)
		}
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Fatalf("%s: got %q, %v", query, answer, err)
		}
	}
}

// A hash that version 0 of CIDs does not have chooses version 1, as with Kubo.
func TestAdd_HashChoosesTheCIDVersion(t *testing.T) {
	url := new(cluster).serve(t) + "/add?"
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"":                             {200, `"cid":"Qm`},
		"hash=SHA2-256":                {200, `"cid":"Qm`},
		"hash=sha2-512":                {200, `"cid":"bafkrgq`},
		"hash=blake3":                  {200, `"cid":"bafkr4i`},
		"hash=blake3&raw-leaves=false": {200, `"cid":"bafyb4i`},
		"hash=blake3&cid-version=0":    {400, "CIDv0 only supports sha2-256"},
		"hash=md5":                     {400, "may not name blocks"},
		"hash=identity":                {400, "may not name blocks"},
	} {
		body, kind := form(t, "a", "1")
		if res, got := do(t, "POST", url+query, body, "Content-Type", kind); res.StatusCode != want.status || !strings.Contains(got, want.text) {
			t.Errorf("%s: got %d %s, want %d with %s", query, res.StatusCode, got, want.status, want.text)
		}
	}
}

// The array of a buffered answer does not grow without end.
func TestAdd_BufferedAnswerIsBounded(t *testing.T) {
	lines := 0
	c := &cluster{add: func(_ context.Context, _ files.Directory, _ api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
		for ; ; lines++ {
			if err := out(api.AddedOutput{Name: strings.Repeat("x", 1<<20)}); err != nil {
				return api.Pin{}, err
			}
			if lines > 100 {
				return api.Pin{}, nil
			}
		}
	}}
	body, kind := form(t, "a", "1")
	res, got := do(t, "POST", c.serve(t)+"/add?stream-channels=false", body, "Content-Type", kind)
	if res.StatusCode != 413 || !strings.Contains(got, "stream-channels=true") || lines > maxBufferedAnswer>>20 {
		t.Fatalf("got %d %.200s after %d lines", res.StatusCode, got, lines)
	}
}

func TestAddParams(t *testing.T) {
	c := &cluster{}
	var got api.AddParams
	c.add = func(_ context.Context, _ files.Directory, p api.AddParams, _ func(api.AddedOutput) error) (api.Pin, error) {
		got = p
		return api.Pin{}, nil
	}
	url := c.serve(t)
	defaults := api.DefaultAddParams()
	defaults.Layout = ""
	with := func(f func(*api.AddParams)) api.AddParams {
		p := defaults
		f(&p)
		return p
	}
	for q, want := range map[string]api.AddParams{
		"size=1": with(func(p *api.AddParams) { p.Size = 1 }),
		"size=1&cid-version=1&layout=trickle&hash=SHA2-512&chunker=rabin-16-32-64&format=unixfs": with(func(p *api.AddParams) {
			p.Size, p.CidVersion, p.RawLeaves, p.Layout, p.HashFun, p.Chunker, p.Format = 1, 1, true, "trickle", "sha2-512", "rabin-16-32-64", "unixfs"
		}),
		"size=1&cid-version=1&raw-leaves=F": with(func(p *api.AddParams) { p.Size, p.CidVersion = 1, 1 }),
		"size=1&local=1&recursive=t&hidden=T&wrap-with-directory=true&progress=TRUE&nocopy=0&no-pin=1": with(func(p *api.AddParams) {
			p.Size, p.Local, p.Recursive, p.Hidden, p.Wrap, p.Progress, p.NoPin = 1, true, true, true, true, true, true
		}),
		"size=1&format=car&pin-update=" + cid0 + "&mode=direct&name=n&replication=2&wrap=1&no-copy=1": with(func(p *api.AddParams) {
			p.Size, p.Format, p.Name, p.ReplicationFactorMin, p.ReplicationFactorMax = 1, "car", "n", 2, 2
		}),
	} {
		body, kind := form(t, "a", "1")
		if res, text := do(t, "POST", url+"/add?"+q, body, "Content-Type", kind); res.StatusCode != 200 {
			t.Errorf("%s: got %d %s", q, res.StatusCode, text)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", q, got, want)
		}
	}
	body, kind := form(t, "a", "1")
	size := uint64(body.Len())
	if do(t, "POST", url+"/add", body, "Content-Type", kind); got.Size != size {
		t.Errorf("got size %d, want the body's %d", got.Size, size)
	}
}

func TestAdd_BadParametersAreRefusedBeforeTheBody(t *testing.T) {
	_, kind := form(t, "a", "1")
	c := &cluster{}
	addURL := c.serve(t) + "/add?" // one server: its Close waits for each broken connection
	for name, tc := range map[string]struct {
		query, contentType string
		status             int
	}{
		"no content type":  {"", "", 400},
		"content type":     {"", "application/json", 400},
		"multipart, mixed": {"", "multipart/mixed; boundary=x", 400},
		"no boundary":      {"", "multipart/form-data", 400},
		"format":           {"format=zip", kind, 400},
		"layout":           {"layout=flat", kind, 400},
		"chunker":          {"chunker=size-0", kind, 400},
		"chunker, name":    {"chunker=magic", kind, 400},
		"chunker, big":     {"chunker=size-99999999", kind, 400},
		"hash":             {"hash=sha9", kind, 400},
		"hash in v0":       {"hash=sha2-512&cid-version=0", kind, 400},
		"hash, weak":       {"hash=md5", kind, 400},
		"cid version":      {"cid-version=2", kind, 400},
		"boolean":          {"progress=yes", kind, 400},
		"boolean, stream":  {"stream-channels=no", kind, 400},
		"size":             {"size=big", kind, 400},
		"wrapped car":      {"format=car&wrap-with-directory=true", kind, 400},
		"options":          {"replication-min=2&replication-max=1", kind, 400},
		"expired":          {"expire-at=2020-01-01T00:00:00Z", kind, 400},
		"shard":            {"shard=true", kind, 501},
		"no copy":          {"nocopy=true", kind, 501},
		"chunker, min":     {"chunker=rabin-1-2-3", kind, 400},
		"chunker, words":   {"chunker=rabin-a-b-c", kind, 400},
		"given twice":      {"layout=trickle&layout=balanced", kind, 400},
	} {
		t.Run(name, func(t *testing.T) {
			// A body that never comes: whoever reads it waits.
			r, w := io.Pipe()
			defer w.Close()
			req, err := http.NewRequest("POST", addURL+tc.query, r)
			if err != nil {
				t.Fatal(err)
			}
			if tc.contentType != "" {
				req.Header.Set("Content-Type", tc.contentType)
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != tc.status {
				t.Errorf("got %d %s %v, want %d", res.StatusCode, body, err, tc.status)
			}
			refused(t, c, res.StatusCode, string(body))
		})
	}
}

func TestAdd_BrokenUploads(t *testing.T) {
	whole, kind := form(t, "d/a", strings.Repeat("x", 5000), "d/b", "bb")
	boundary := strings.TrimPrefix(kind, "multipart/form-data; boundary=")
	for name, body := range map[string]string{
		"nothing":               "",
		"not multipart":         "just text",
		"in a file":             whole.String()[:3000],
		"in a boundary":         whole.String()[:len(whole.String())-5],
		"between files":         whole.String()[:strings.LastIndex(whole.String(), "--"+boundary+"\r\n")],
		"in a header":           "--" + boundary + "\r\nContent-Dispo",
		"bad header":            "--" + boundary + "\r\nno colon here\r\n\r\nx\r\n--" + boundary + "--\r\n",
		"bad content type":      "--" + boundary + "\r\nContent-Type: ;;;\r\n\r\nx\r\n--" + boundary + "--\r\n",
		"no name":               "--" + boundary + "\r\nContent-Disposition: form-data; filename=a\r\n\r\nx\r\n--" + boundary + "\r\nContent-Type: text/plain\r\n\r\nx\r\n--" + boundary + "--\r\n",
		"no name, then another": "--" + boundary + "\r\n\r\nx\r\n" + whole.String(),
		"deep in a nested file": strings.Replace(whole.String(), "d%2Fa", "p%2Fq%2Fr%2Fa", 1)[:3000],
	} {
		t.Run(name, func(t *testing.T) {
			pinned := false
			c := &cluster{add: func(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
				pin, err := readAll(ctx, dir, p, out)
				pinned = err == nil
				return pin, err
			}}
			url := c.serve(t)
			res, got := do(t, "POST", url+"/add?stream-channels=false", strings.NewReader(body), "Content-Type", kind)
			if res.StatusCode != 400 || pinned || strings.Contains(got, "EOF") {
				t.Errorf("got %d %s, pinned %v", res.StatusCode, got, pinned)
			}
			c.calls = nil
			refused(t, c, res.StatusCode, got)
			res, got = do(t, "POST", url+"/add", strings.NewReader(body), "Content-Type", kind)
			whole := res.StatusCode == 400 && strings.Contains(got, "error reading the upload: ")
			// Of two files the first may have been added before.
			broken := res.Trailer.Get("X-Pinfold-Error-Code") == "400" && strings.HasPrefix(res.Trailer.Get("X-Stream-Error"), "error reading the upload: ")
			if !whole && !broken || pinned {
				t.Errorf("streamed: got %d %s, trailer %q, pinned %v", res.StatusCode, got, res.Trailer, pinned)
			}
		})
	}
}

// A connection that dies in an upload of announced length is an error to the adder.
func TestAdd_TruncatedUploadPinsNothing(t *testing.T) {
	result := make(chan error, 1)
	c := &cluster{add: func(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
		_, err := readAll(ctx, dir, p, out)
		result <- err
		return api.Pin{}, err
	}}
	u, err := url.Parse(c.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	body, kind := form(t, "a", strings.Repeat("x", 1<<20))
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /add HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, body.Len(), body.String()[:1000])
	conn.Close()
	select {
	case err := <-result:
		if api.KindOf(err) != api.Invalid {
			t.Fatalf("got %v, want an Invalid error", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the adder still reads")
	}
}

func TestAdd_GoneClientCancels(t *testing.T) {
	read, ended := make(chan bool), make(chan error, 1)
	c := &cluster{add: func(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
		err := walk(dir, func(api.AddedOutput) error { return nil })
		read <- err == nil
		<-ctx.Done()
		ended <- ctx.Err()
		return api.Pin{}, ctx.Err()
	}}
	body, kind := form(t, "a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", c.serve(t)+"/add", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	go func() {
		if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
			res.Body.Close()
		}
	}()
	if !<-read {
		t.Fatal("the upload was not read")
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the add goes on")
	}
}

// A client that waits for "100 Continue" gets it.
func TestAdd_ExpectContinue(t *testing.T) {
	c := &cluster{add: readAll}
	body, kind := form(t, "a", "1")
	tr := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest("POST", c.serve(t)+"/add", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Expect", "100-continue")
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != `{"name":"a","cid":null,"size":1}`+"\n" {
		t.Fatalf("got %s, %v, trailer %q", got, err, res.Trailer)
	}
}

// The log index of an add comes after its lines, or before its array.
func TestAdd_TellsItsIndex(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	for query, where := range map[string]func(*http.Response) string{
		"":                       func(res *http.Response) string { return res.Trailer.Get(api.IndexHeader) },
		"?stream-channels=false": func(res *http.Response) string { return res.Header.Get(api.IndexHeader) },
	} {
		body, media := form(t, "a", "abc")
		res, text := do(t, "POST", url+"/add"+query, body, "Content-Type", media)
		if got := where(res); res.StatusCode != 200 || got != "7" {
			t.Errorf("%q: got %d %s, index %q, want 7", query, res.StatusCode, text, got)
		}
	}
	body, media := form(t, "a", "abc")
	if res, _ := do(t, "POST", url+"/add?no-pin=true", body, "Content-Type", media); res.Trailer.Get(api.IndexHeader) != "" {
		t.Error("nothing was pinned, and there is an index")
	}
}
