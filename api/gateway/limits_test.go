package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// What no peer holds is answered in bounded time, and says when to come back.
func TestGateway_MissingContent(t *testing.T) {
	missing := ipfsconntest.File(t, 2, 1, 10).Root.String()
	partly := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"f": ipfsconntest.File(t, 3, 1, 10)})
	n := newNode(t, newNode(t))
	ipfsconntest.Put(t, n, partly.Blocks[len(partly.Blocks)-1])
	for name, tt := range map[string]struct {
		o         Options
		retrieval time.Duration
		code      int
	}{"fetching": {Options{}, 200 * time.Millisecond, 504}, "not fetching": {Options{NoFetch: true}, time.Minute, 404}} {
		t.Run(name, func(t *testing.T) {
			g := serveFor(t, tt.retrieval, n, tt.o)
			for _, target := range []string{missing, missing + "/a/path", missing + "?format=raw", missing + "?format=car", missing + "?format=tar", partly.Root.String() + "/f"} {
				for _, headers := range [][]string{nil, {"If-None-Match", `"x"`}, {"Range", "bytes=-1"}} {
					t.Run("", func(t *testing.T) {
						start := time.Now()
						res := ask(t, g, "GET", "/ipfs/"+target, headers...)
						if res.StatusCode != tt.code {
							t.Errorf("%s %v: %s, want %d: %.200q", target, headers, res.Status, tt.code, res.body)
						}
						if again := res.Header.Get("Retry-After"); (again != "") != (tt.code == 504) {
							t.Errorf("Retry-After: %q", again)
						}
						if c := res.Header.Get("Cache-Control"); strings.Contains(c, "immutable") {
							t.Errorf("Cache-Control: %s", c)
						}
						if took := time.Since(start); took > 30*time.Second {
							t.Errorf("%s took %v", target, took)
						}
					})
				}
			}
		})
	}
}

// Where all slots are taken by requests that do not move, a new one is refused at first
// and gets the slot of the oldest once that has had its time.
func TestBound_TheStalledGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bound(newSlots(2), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stall" {
				<-r.Context().Done()
				if context.Cause(r.Context()) == errGaveWay {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}
		}), quiet)
		get := func(path string) *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "GET", path, nil))
			return rec
		}
		first := make(chan int, 1)
		go func() { first <- get("/stall").Code }()
		time.Sleep(time.Second)
		go get("/stall")
		synctest.Wait()
		rec := get("/")
		if again := rec.Header().Get("Retry-After"); rec.Code != http.StatusTooManyRequests || again == "" {
			t.Fatalf("while both are young: %d, Retry-After %q", rec.Code, again)
		}
		time.Sleep(patience - time.Second)
		if rec := get("/"); rec.Code != http.StatusOK {
			t.Fatalf("once the first has stalled: %d", rec.Code)
		}
		if code := <-first; code != http.StatusServiceUnavailable {
			t.Fatalf("the first: %d", code)
		}
	})
}

// Clients that ask for much and read nothing do not keep others out, nor do those that
// never finish what they ask.
func TestGateway_SlowClients(t *testing.T) {
	file := ipfsconntest.File(t, 1, 64, 256<<10) // more than the buffers of a connection
	n := newNode(t)
	ipfsconntest.Add(t, n, file)
	g := serve(t, n, Options{Requests: 4, Connections: 10})
	for range 4 {
		conn := dial(t, g)
		if err := conn.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /ipfs/%s HTTP/1.1\r\nHost: h\r\n\r\n", file.Root)
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil { // it has its slot
			t.Fatal(err)
		}
	}
	for range 20 {
		fmt.Fprintf(dial(t, g), "GET /ipfs/")
	}
	start := time.Now()
	for {
		res := ask(t, g, "GET", "/ipfs/bafkqablimvwgy3y")
		if res.StatusCode == 200 {
			break
		}
		if res.StatusCode != 429 || time.Since(start) > 10*patience {
			t.Fatalf("after %v: %s", time.Since(start), res.Status)
		}
	}
}

func TestWithStatus(t *testing.T) {
	gaveWay, cancel := context.WithCancelCause(t.Context())
	cancel(errGaveWay)
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		want int // 0: as it is
	}{
		"stalled":      {gaveWay, context.Canceled, 503},
		"closing":      {t.Context(), fmt.Errorf("read: %w", api.Unavailable.Errorf("closed")), 503},
		"broken store": {t.Context(), fmt.Errorf("read: %w", api.Internal.Errorf("bad disk")), 0},
		"late":         {t.Context(), fmt.Errorf("read: %w", context.DeadlineExceeded), 0},
		"nothing":      {t.Context(), nil, 0},
		"undecodable":  {t.Context(), io.ErrUnexpectedEOF, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := withStatus(tt.ctx, tt.err)
			if tt.want == 0 {
				if got != tt.err {
					t.Fatalf("%v", got)
				}
				return
			}
			if code := codeOf(got); code != tt.want {
				t.Fatalf("%d, want %d", code, tt.want)
			}
		})
	}
}

// At debug level every request is in the log.
func TestGateway_LogsRequests(t *testing.T) {
	s, n := newSite(t), newNode(t)
	s.add(t, n)
	var log lockedLog
	g, err := New(Options{ListenMultiaddress: "/ip4/127.0.0.1/tcp/0"}, time.Minute, n, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, path := range []string{s.path("/hello.txt"), s.path("/none"), "/elsewhere"} {
		g.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	for _, want := range []string{"path=" + s.path("/hello.txt") + " status=200 bytes=6", "path=" + s.path("/none") + " status=404", "path=/elsewhere status=404"} {
		if !strings.Contains(log.text(), want) {
			t.Errorf("no %q in\n%s", want, log.text())
		}
	}
}

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
