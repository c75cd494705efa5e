package p2p

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What a bounded data host sends, and what it takes, comes no faster than its bound,
// however many streams there are.
func TestDataHost_BoundsItsBandwidth(t *testing.T) {
	const rate, each, streams = 256 << 10, 32 << 10, 4
	c := newTestCluster(t)
	bounded, _ := c.data(DataOptions{MaxBandwidth: rate})
	other, _ := c.data(DataOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := bounded.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}); err != nil {
		t.Fatal(err)
	}
	began, done := time.Now(), make(chan error)
	for range streams {
		go func() { done <- carry(ctx, bounded, other.ID(), each) }()
	}
	for range streams {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	least := time.Duration(float64(streams*each-2*limitChunk) / rate * float64(time.Second))
	if took := time.Since(began); took < least {
		t.Errorf("%d bytes took %s, want at least %s", streams*each, took, least)
	}
}

// carry sends n bytes to a peer and reads them back.
func carry(ctx context.Context, from *DataHost, to peer.ID, n int) error {
	s, err := from.NewStream(ctx, to, echoProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, n))
		sent <- err
	}()
	if _, err := io.ReadFull(s, make([]byte, n)); err != nil {
		return err
	}
	return <-sent
}
