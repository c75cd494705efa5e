package embedded

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// moody is a host whose handlers can be gone for a while, or reset all streams.
type moody struct {
	host.Host
	handlers map[protocol.ID]network.StreamHandler
	resets   atomic.Bool
}

func (m *moody) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	m.handlers[id] = func(s network.Stream) {
		if m.resets.Load() {
			s.Reset()
			return
		}
		handle(s)
	}
	m.Host.SetStreamHandler(id, m.handlers[id])
}

// A peer that did not take what bitswap sent serves soon after it does, over the
// connection that there is.
func TestPin_FromAPeerThatWasDeaf(t *testing.T) {
	for name, test := range map[string]struct{ deafen, heal func(*moody) }{
		"speaking no bitswap": {func(m *moody) {
			for id := range m.handlers {
				m.RemoveStreamHandler(id)
			}
		}, func(m *moody) {
			for id, handle := range m.handlers {
				m.Host.SetStreamHandler(id, handle)
			}
		}},
		"resetting streams": {func(m *moody) { m.resets.Store(true) }, func(m *moody) { m.resets.Store(false) }},
	} {
		t.Run(name, func(t *testing.T) {
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
			test.deafen(m)
			if err := n.Pin(within(t, time.Second), ipfsconntest.Pin(file.Root), nil); err == nil {
				t.Fatal("it was pinned from a deaf holder")
			}
			test.heal(m)
			healed := time.Now()
			if err := n.Pin(within(t, 30*time.Second), ipfsconntest.Pin(file.Root), nil); err != nil {
				t.Fatalf("%s after it was healed: %v", time.Since(healed), err)
			}
			t.Logf("pinned after %s", time.Since(healed))
		})
	}
}
