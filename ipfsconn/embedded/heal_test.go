package embedded

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// moody is a host whose handlers can be gone for a while.
type moody struct {
	host.Host
	handlers map[protocol.ID]network.StreamHandler
}

func (m *moody) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	m.handlers[id] = handle
	m.Host.SetStreamHandler(id, handle)
}

// A peer that spoke no bitswap for a while, and was given up, serves soon after it does, over the
// connection that there is.
func TestPin_FromAPeerThatWasDeaf(t *testing.T) {
	t.Parallel()
	m := &moody{Host: newHost(t), handlers: map[protocol.ID]network.StreamHandler{}}
	holder, err := New(m, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Close() })
	n := onLine(t, Options{}, holder)
	file := ipfsconntest.File(t, 1, 3, 1000)
	ipfsconntest.Add(t, holder, file)
	for id := range m.handlers {
		m.RemoveStreamHandler(id)
	}
	// One pin gives up before it is healed, another goes on.
	waiting := make(chan error, 1)
	go func() { waiting <- n.Find(within(t, time.Minute), ipfsconntest.Pin(file.Root)) }()
	if err := n.Pin(within(t, time.Second), ipfsconntest.Pin(file.Root), nil); err == nil {
		t.Fatal("it was pinned from a deaf holder")
	}
	for id, handle := range m.handlers {
		m.Host.SetStreamHandler(id, handle)
	}
	healed := time.Now()
	if err := <-waiting; err != nil {
		t.Fatalf("%s after it was healed: %v", time.Since(healed), err)
	}
	if err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Fatalf("%s after it was healed: %v", time.Since(healed), err)
	}
	t.Logf("pinned after %s", time.Since(healed))
}
