package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const echo protocol.ID = "/test/echo/1"

// pair is two hosts of w; the second answers with what it is sent.
func pair(t *testing.T, w *Network) (a, b host.Host) {
	t.Helper()
	a, b = newHost(t, w), newHost(t, w)
	a.Peerstore().AddAddrs(b.ID(), b.Addrs(), time.Hour)
	b.SetStreamHandler(echo, func(s network.Stream) {
		io.Copy(s, s)
		s.Close()
	})
	return a, b
}

func newHost(t *testing.T, w *Network) host.Host {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.Host(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func open(t *testing.T, a, b host.Host) network.Stream {
	t.Helper()
	s, err := a.NewStream(t.Context(), b.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNetwork_BytesTakeTheirTimeAndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		w.Loss = 0
		a, b := pair(t, w)
		s := open(t, a, b)
		defer s.Reset()
		sent := bytes.Repeat([]byte("pin"), 1<<20)
		start := time.Now()
		go func() {
			s.Write(sent[:1<<20])
			s.Write(sent[1<<20:])
			s.CloseWrite()
		}()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes came back of %d: %v", len(got), len(sent), err)
		}
		trip := 2 * w.delay(0, 1)
		line := time.Duration(len(sent)) * time.Second / time.Duration(w.Rate)
		if took := time.Since(start); took < trip+line || took > 2*(trip+line) {
			t.Errorf("it took %v; the line takes %v, the way %v", took, line, trip)
		}
		out, in := w.Traffic(a.ID())[echo].Out, w.Traffic(b.ID())[echo].In
		if out != in || out < int64(len(sent)) || out > int64(len(sent))+10*frame {
			t.Errorf("sent %d bytes, received %d, of %d", out, in, len(sent))
		}
	})
}

func TestNetwork_CutLinkEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		a, b := pair(t, w)
		s := open(t, a, b)
		go func() {
			time.Sleep(time.Second)
			w.Cut(a.ID(), b.ID(), true)
		}()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
			t.Errorf("read over a cut link: %v", err)
		}
		if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID()}); err == nil {
			t.Error("connected over a cut link")
		}
		w.Cut(a.ID(), b.ID(), false)
		open(t, a, b).Reset()
	})
}

func TestNetwork_StreamsHaveDeadlinesAndAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New())
		held := make(chan network.Stream, 1)
		b.SetStreamHandler(echo, func(s network.Stream) { held <- s })
		s := open(t, a, b)
		defer s.Reset()
		s.SetDeadline(time.Now().Add(time.Minute))
		var sent int
		for {
			n, err := s.Write(make([]byte, 4<<10))
			if sent += n; err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("write to one who does not read: %v", err)
				}
				break
			}
		}
		if sent < window || sent > 2*window {
			t.Errorf("%d bytes went to one who does not read", sent)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past the deadline: %v", err)
		}
		(<-held).Reset()
	})
}

func TestNetwork_DialGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New())
		b.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial of a host that is gone: %v", err)
		}
	})
}
