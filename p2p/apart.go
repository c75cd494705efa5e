package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
)

// What peers that are no members may have of a host's streams. It counts from a stream's
// first byte: libp2p's own bounds on streams without a protocol yet, and on all of a
// host, are for members and strangers alike, and one stranger could take all of either.
const (
	strangerEach = 16        // streams of one peer
	strangerEasy = 128       // of all: beyond, who has
	strangerFew  = 6         // gets no more
	streamWindow = 256 << 10 // bytes that a stream may leave lying before it was read
	// dataStrangers are connected with a data host at once, somewhat more than are let in.
	dataStrangers = 128
)

// manager is a resource manager that tells what is used, as 'ipfs swarm resources' shows.
type manager interface {
	network.ResourceManager
	rcmgr.ResourceManagerState
}

// apart is a resource manager that keeps what strangers take from members' share.
type apart struct {
	manager
	isMember func(peer.ID) bool // asks nobody, and may be called at any time

	mu   sync.Mutex
	open int
	by   map[peer.ID]int
}

func newApart(rm manager, isMember func(peer.ID) bool) *apart {
	return &apart{manager: rm, isMember: isMember, by: map[peer.ID]int{}}
}

// makeRoom adds what strangers may take to the limits of a host, where up to most of them
// stay connected. It returns the memory among that, in bytes.
func makeRoom(l *rcmgr.ScalingLimitConfig, most int) (memory int64) {
	most += maxVisitors
	streams := strangerEasy + strangerFew*most
	memory = int64(streams) * streamWindow
	for _, of := range []*rcmgr.BaseLimit{&l.SystemBaseLimit, &l.TransientBaseLimit} {
		of.Streams += streams
		of.StreamsInbound += streams
		of.StreamsOutbound += streams // for each of theirs they may be asked who they are
		of.Memory += memory
		of.Conns += arrivalsMost
		of.ConnsInbound += arrivalsMost
	}
	l.TransientBaseLimit.FD += arrivalsMost
	l.SystemBaseLimit.Conns += most
	l.SystemBaseLimit.ConnsInbound += most
	return memory
}

// OpenStream implements network.ResourceManager.
func (a *apart) OpenStream(p peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	if dir != network.DirInbound {
		return a.manager.OpenStream(p, dir)
	}
	if !a.enter(p) {
		return nil, network.ErrResourceLimitExceeded
	}
	leave := sync.OnceFunc(func() { a.leave(p) })
	s, err := a.manager.OpenStream(p, dir)
	if err != nil {
		leave()
		return nil, err
	}
	return &apartScope{s, leave}, nil
}

// enter counts a stream, if the peer may have it. Members' are counted too, but have no
// bound: who is asked whether it is one needs a stream or two.
func (a *apart) enter(p peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.by[p]
	if (n >= strangerEach || n >= strangerFew && a.open >= strangerEasy) && !a.isMember(p) {
		return false
	}
	a.open++
	a.by[p]++
	return true
}

func (a *apart) leave(p peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	if a.by[p]--; a.by[p] == 0 {
		delete(a.by, p)
	}
}

// apartScope gives its place back when it ends.
type apartScope struct {
	network.StreamManagementScope
	leave func()
}

// Done implements network.ResourceScopeSpan.
func (s *apartScope) Done() {
	s.leave()
	s.StreamManagementScope.Done()
}
