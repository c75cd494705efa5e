package rest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/events"
)

// pipes is a listener of connections in memory, which know the bubble's clock.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly has a client send text to h, and then nothing. It gives what the client then
// reads until the server hangs up, and after how long that is.
func slowly(t *testing.T, h http.Handler, text string, reads bool) (answer string, took time.Duration) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	client, server := net.Pipe()
	l.conns <- server
	start := time.Now()
	go io.WriteString(client, text)
	if reads {
		b, _ := io.ReadAll(client)
		answer = string(b)
	} else { // a write finds out that the other end is closed
		time.Sleep(time.Second)
		for time.Since(start) < time.Hour {
			client.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := io.WriteString(client, "x"); err == io.ErrClosedPipe {
				break
			}
		}
	}
	took = time.Since(start)
	client.Close()
	s.Close()
	<-ended
	return answer, took
}

func TestSlowClients_AreGivenUp(t *testing.T) {
	const auth = "Authorization: Basic YWRtaW46cmlnaHQ=\r\n" // admin:right
	head := func(line, more string) string { return line + " HTTP/1.1\r\nHost: a\r\n" + more + "\r\n" }
	for name, tt := range map[string]struct {
		sends  string
		reads  bool
		within time.Duration
		gets   string // in the answer
		effect string
	}{
		"half a head":                 {"GET /id HTTP/1.1\r\nHost: a\r\nX-Half: ", true, 6 * time.Second, "", ""},
		"a body that is not needed":   {head("POST /pins/"+cid0, auth+"Content-Length: 10\r\n") + "half", true, 17 * time.Second, `"code":400`, ""},
		"its length unknown":          {head("POST /pins/"+cid0, auth+"Transfer-Encoding: chunked\r\n") + "4\r\nhalf\r\n", true, 11 * time.Second, `"code":400`, ""},
		"a stranger's":                {head("POST /add", "Content-Length: 1000\r\n") + "half", true, 6 * time.Second, `"code":401`, ""},
		"of a path that is not there": {head("POST /nothing", auth+"Content-Length: 1000\r\n") + "half", true, 6 * time.Second, `"code":404`, ""},
		"by the wrong method":         {head("PUT /pins", auth+"Content-Length: 1000\r\n") + "half", true, 6 * time.Second, `"code":405`, ""},
		"half a bulk":                 {head("POST /pins", auth+"Content-Length: 1000\r\n") + `{"cid":"` + cid0 + `"}` + "\n{", true, 5 * time.Minute, "read the body: it stalled", "pinMany"},
		"half an upload":              {head("POST /add", auth+"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n") + "--b\r\n", true, 3 * time.Minute, "it stalled", ""},
		"half a peer":                 {head("POST /peers", auth+"Content-Length: 100\r\n") + `{"peer_id":`, true, 3 * time.Minute, `"code":400`, ""},
		"who reads no list":           {head("GET /allocations", auth), false, 3 * time.Minute, "", ""},
		"who reads no events":         {head("GET /events", auth), false, 3 * time.Minute, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := whole(t)
				c.events = events.New(7, c)
				row := api.Pin{Cid: numberedCid(t, 1), Type: api.PinData}
				c.all = func(yield func(api.Pin, error) bool) {
					for yield(row, nil) { // without an end
					}
				}
				o := web.Options{BasicAuthCredentials: map[string]string{"admin": "right"}}
				answer, took := slowly(t, c.handlerWith(o), tt.sends, tt.reads)
				if took > tt.within || !strings.Contains(answer, tt.gets) || tt.gets != "" && strings.Count(answer, "HTTP/1.1 ") != 1 {
					t.Errorf("after %s (at most %s), got %q, want %q", took, tt.within, answer, tt.gets)
				}
				if got := c.effects(); got != tt.effect {
					t.Errorf("effects: %q, want %q", got, tt.effect)
				}
			})
		})
	}
}

// heap is what is in use, in bytes, less what is garbage.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A bulk request takes no more memory for more lines.
func TestBulk_MemoryIsThatOfTwoBatches(t *testing.T) {
	const lines = 20_000
	c := &cluster{pinMany: accept(nil)}
	url := c.serve(t)
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriter(w)
		for i := range lines {
			if _, err := fmt.Fprintf(out, "{\"cid\":%q}\n", numberedCid(t, i)); err != nil {
				return
			}
		}
		w.CloseWithError(out.Flush())
	}()
	res, err := http.Post(url+"/pins", "", r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	before, most, n := heap(), uint64(0), 0
	in := bufio.NewScanner(res.Body)
	for in.Scan() {
		if strings.Contains(in.Text(), "error") {
			t.Fatal(in.Text())
		}
		if n++; n%5_000 == 0 {
			most = max(most, heap())
		}
	}
	if n != lines || most > before+8<<20 {
		t.Errorf("%d lines, %d KiB more memory", n, (most-before)>>10)
	}
}
