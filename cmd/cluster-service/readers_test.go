package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api/client"
)

// Who knows the secret alone may read the API over libp2p, but not without end.
func TestDaemon_StrangersReadWithinBounds(t *testing.T) {
	p := startCluster(t, 1)[0]
	c, err := client.New(p.settings["LISTENMULTIADDRESS"]+"/p2p/"+p.id.String(), client.Options{Secret: p.daemon.c.Cluster.Host.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	const late = 2 * readsRate
	start := time.Now()
	for range readsBurst + late {
		if _, err := c.ID(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < (late-1)*time.Second/readsRate {
		t.Errorf("%d requests are answered in %v", readsBurst+late, took)
	}
	if _, err := p.http.ID(t.Context()); err != nil {
		t.Errorf("who comes to the API itself: %v", err)
	}
}

func TestReaders_ShareTheirPlacesByAddress(t *testing.T) {
	s, now := newReaders(), time.Now()
	var last *reading
	ended := 0
	enter := func(address string) bool {
		last = &reading{address: address, since: now, end: func() { ended++ }}
		_, ok := s.turn(address, now)
		return ok && s.enter(last)
	}
	for _, step := range []struct {
		address string
		ok      bool
		ended   int
	}{
		{"a", true, 0}, {"a", true, 0},
		{"a", false, 0}, // one address may not ask more at once
		{"b", true, 0}, {"b", true, 0},
		{"c", true, 1}, {"d", true, 2}, // in the places of those that have two
		{"e", false, 2}, // of each another address
	} {
		if ok := enter(step.address); ok != step.ok || ended != step.ended || len(s.open) > readsAtOnce {
			t.Fatalf("%s enters %t, %d end and %d are answered; want %+v", step.address, ok, ended, len(s.open), step)
		}
	}
	now = now.Add(readLong + 1)
	if !enter("e") || ended != 3 {
		t.Errorf("answers that take long make no room: %d end", ended)
	}
	s.leave(last)
	if !enter("f") || ended != 3 {
		t.Error("a place is not given back")
	}
	for i := range 2 * readsAddresses {
		enter(string(rune('g' + i)))
	}
	if len(s.by) > readsAddresses {
		t.Errorf("%d addresses are remembered", len(s.by))
	}
}

// Who asks too much is refused, and not soon: it could come again as quickly.
func TestReaders_RefuseSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newReaders()
		for range readsBurst + readsRate {
			s.turn("a", time.Now())
		}
		start, w := time.Now(), httptest.NewRecorder()
		s.bound("a", http.NotFoundHandler(), w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if took := time.Since(start); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || took != readsWait {
			t.Errorf("answered %d after %v", w.Code, took)
		}
		w = httptest.NewRecorder()
		s.bound("b", http.NotFoundHandler(), w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("another address is answered %d", w.Code)
		}
	})
}

// Who does not read, or asks for what takes long, keeps nobody out who comes from elsewhere.
func TestReaders_MakeRoom(t *testing.T) {
	for name, from := range map[string][]string{"of two addresses": {"a", "a", "b", "b"}, "each of another address": {"a", "b", "c", "d"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newReaders()
				ask := func(address string, w http.ResponseWriter, h http.HandlerFunc) {
					s.bound(address, h, w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				}
				var held sync.WaitGroup
				var ended atomic.Int64
				for _, address := range from {
					held.Go(func() {
						here, there := net.Pipe()
						defer there.Close()
						ask(address, unread{httptest.NewRecorder(), here}, func(w http.ResponseWriter, r *http.Request) {
							_, _ = w.Write([]byte("x"))
							<-r.Context().Done()
						})
						ended.Add(1)
					})
				}
				synctest.Wait()
				start := time.Now()
				for {
					w := httptest.NewRecorder()
					if ask("elsewhere", w, http.NotFound); w.Code == http.StatusNotFound {
						break
					}
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if took := time.Since(start); took > readLong+time.Second || ended.Load() != 1 {
					t.Errorf("it has to wait for %v, and %d answers end", took, ended.Load())
				}
				held.Wait()
			})
		})
	}
}

// unread is an answer that is not read.
type unread struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (u unread) Write(b []byte) (int, error)         { return u.conn.Write(b) }
func (u unread) SetWriteDeadline(at time.Time) error { return u.conn.SetWriteDeadline(at) }

// An answer ends in its time, and is no faster than those of strangers may be together.
func TestReaders_AnswerSlowlyAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newReaders()
		ask := func(h http.HandlerFunc) time.Duration {
			start := time.Now()
			s.bound("a", h, httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			return time.Since(start)
		}
		const seconds = 5
		if took := ask(func(w http.ResponseWriter, r *http.Request) {
			if n, err := w.Write(make([]byte, seconds*readsBytes)); n != seconds*readsBytes || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}); took < (seconds-1)*time.Second || took > seconds*time.Second {
			t.Errorf("%d bytes took %v", seconds*readsBytes, took)
		}
		if took := ask(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			if _, err := w.Write([]byte("x")); err == nil || r.Context().Err() != context.DeadlineExceeded {
				t.Errorf("it goes on after its time: %v", err)
			}
		}); took != readTime {
			t.Errorf("an answer without end took %v", took)
		}
	})
}
