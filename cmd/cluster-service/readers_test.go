package main

import (
	"context"
	"net/http"
	"net/http/httptest"
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
	enter := func(address string) bool {
		_, ok := s.turn(address, now)
		return ok && s.enter(address)
	}
	for range readsEach {
		if !enter("a") {
			t.Fatal("the first has no place")
		}
	}
	if enter("a") {
		t.Error("one address may ask more at once than it should")
	}
	for range readsEach {
		if !enter("b") {
			t.Error("another address has no place")
		}
	}
	if enter("c") {
		t.Error("there are more at once than should be")
	}
	s.leave("a")
	if !enter("c") {
		t.Error("a place is not given back")
	}
	for i := range 2 * readsAddresses {
		enter(string(rune('d' + i)))
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
