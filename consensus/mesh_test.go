package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// A mesh is peers on loopback that know each other's ports, with links that can be cut.
type mesh struct {
	mu    sync.Mutex
	addrs map[api.PeerID]string
	cut   map[link]bool
	conns map[*meshConn]struct{}
}

type link struct{ a, b api.PeerID }

func linkOf(a, b api.PeerID) link {
	if a > b {
		a, b = b, a
	}
	return link{a, b}
}

func newMesh() *mesh {
	return &mesh{addrs: map[api.PeerID]string{}, cut: map[link]bool{}, conns: map[*meshConn]struct{}{}}
}

// split cuts all links between a peer and the others.
func (m *mesh) split(p api.PeerID, others ...api.PeerID) {
	for _, o := range others {
		if o != p {
			m.set(linkOf(p, o), true)
		}
	}
}

func (m *mesh) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cut)
}

func (m *mesh) set(l link, cut bool) {
	m.mu.Lock()
	m.cut[l] = cut
	var broken []*meshConn
	for c := range m.conns {
		if cut && c.link == l {
			broken = append(broken, c)
		}
	}
	m.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

func (m *mesh) add(c net.Conn, self, other api.PeerID) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &meshConn{Conn: c, m: m, other: other, link: linkOf(self, other)}
	if m.cut[k.link] {
		c.Close()
		return nil, errors.New("link is cut")
	}
	m.conns[k] = struct{}{}
	return k, nil
}

type meshConn struct {
	net.Conn
	m     *mesh
	other api.PeerID
	link  link
}

func (c *meshConn) RemoteAddr() net.Addr { return peerAddr(c.other.String()) }

func (c *meshConn) Close() error {
	c.m.mu.Lock()
	delete(c.m.conns, c)
	c.m.mu.Unlock()
	return c.Conn.Close()
}

// A port is one peer's Network.
type port struct {
	m    *mesh
	self api.PeerID
}

func (p port) Listen(string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.addrs[p.self] = l.Addr().String()
	return meshListener{l, p}, nil
}

func (p port) Dial(ctx context.Context, to api.PeerID, _ string) (net.Conn, error) {
	p.m.mu.Lock()
	addr, cut := p.m.addrs[to], p.m.cut[linkOf(p.self, to)]
	p.m.mu.Unlock()
	if cut {
		return nil, errors.New("link is cut")
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append([]byte{byte(len(p.self))}, p.self...)); err != nil {
		return nil, err
	}
	return p.m.add(c, p.self, to)
}

type meshListener struct {
	net.Listener
	p port
}

func (l meshListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var n [1]byte
		if _, err := io.ReadFull(c, n[:]); err != nil {
			c.Close()
			continue
		}
		id := make([]byte, n[0])
		if _, err := io.ReadFull(c, id); err != nil {
			c.Close()
			continue
		}
		if k, err := l.p.m.add(c, l.p.self, api.PeerID(id)); err == nil {
			return k, nil
		}
	}
}

func newPeerID(t testing.TB) api.PeerID {
	t.Helper()
	_, pub, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
