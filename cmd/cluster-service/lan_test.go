package main

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/p2p"
)

// A lan carries what peers of this process say to each other, and can cut each way
// between two of them. What goes a way that is cut is neither lost nor refused: as with
// TCP whose packets are lost, it waits for the way to open, and so does the end of a
// connection. No connection is made while either way is cut.
type lan struct {
	mu     sync.Mutex
	peers  map[string]*testPeer // by the addresses they listen on
	cuts   map[way]bool
	opened chan struct{} // closed, and made anew, where ways open
	pumps  sync.WaitGroup
}

// A way is the direction from one peer to another.
type way struct{ from, to *testPeer }

// newLAN makes a network for peers made later, which end before it does.
func newLAN(t *testing.T) *lan {
	n := &lan{peers: map[string]*testPeer{}, cuts: map[way]bool{}, opened: make(chan struct{})}
	t.Cleanup(n.pumps.Wait)
	return n
}

// add makes the peer's connections go over n from its next start on.
func (n *lan) add(p *testPeer) {
	p.net = n
	p.t.Cleanup(n.heal) // before the peer stops
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range []string{"LISTENMULTIADDRESS", "EMBEDDED_SWARMLISTENMULTIADDRESS"} {
		addr, err := manet.ToNetAddr(multiaddr.StringCast(p.settings[s]))
		if err != nil {
			p.t.Fatal(err)
		}
		n.peers[addr.String()] = p
	}
}

// cut closes the ways from peers to others.
func (n *lan) cut(from, to []*testPeer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			n.cuts[way{a, b}] = true
		}
	}
}

// part closes the ways between peers and others, both ways.
func (n *lan) part(some, others []*testPeer) {
	n.cut(some, others)
	n.cut(others, some)
}

// heal opens all ways.
func (n *lan) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	close(n.opened)
	n.opened = make(chan struct{})
}

// wait returns once all ways are open at the same moment, or ctx ends.
func (n *lan) wait(ctx context.Context, ways ...way) error {
	for {
		n.mu.Lock()
		cut, opened := false, n.opened
		for _, w := range ways {
			cut = cut || n.cuts[w]
		}
		n.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dialer is how the peer makes connections.
func (n *lan) dialer(from *testPeer) p2p.Dialer {
	return func(ctx context.Context, kind, address string) (net.Conn, error) {
		n.mu.Lock()
		to := n.peers[address]
		n.mu.Unlock()
		there, back := way{from, to}, way{to, from}
		if err := n.wait(ctx, there, back); err != nil {
			return nil, err
		}
		far, err := new(net.Dialer).DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		near, mine := net.Pipe()
		n.pump(there, mine, far)
		n.pump(back, far, mine)
		return piped{near, far}, nil
	}
}

// piped is one end of a pipe with the addresses of the connection at its other end.
type piped struct {
	net.Conn
	far net.Conn
}

func (p piped) LocalAddr() net.Addr  { return p.far.LocalAddr() }
func (p piped) RemoteAddr() net.Addr { return p.far.RemoteAddr() }

// inFlight chunks of up to chunkSize bytes are on a way before who sends must wait.
const (
	inFlight  = 64
	chunkSize = 16 << 10
)

// pump carries what comes from src to dst, while the way is open.
func (n *lan) pump(w way, src, dst net.Conn) {
	chunks := make(chan []byte, inFlight)
	n.pumps.Go(func() {
		defer close(chunks)
		for {
			b := make([]byte, chunkSize)
			got, err := src.Read(b)
			if got > 0 {
				chunks <- b[:got]
			}
			if err != nil {
				return
			}
		}
	})
	n.pumps.Go(func() {
		defer dst.Close()
		for b := range chunks {
			_ = n.wait(context.Background(), w)
			if _, err := dst.Write(b); err != nil {
				src.Close() // which ends the reader, and with it chunks
				for range chunks {
				}
				return
			}
		}
		_ = n.wait(context.Background(), w)
	})
}
