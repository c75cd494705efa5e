package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
)

// What peers that are no members may have of a host's streams, in and out each on its own. It
// counts from a stream's first byte: libp2p's own bounds on streams without a protocol yet, on
// those of one and on all of a host are for members and strangers alike.
const (
	strangerConns = 2         // connections that one peer may make: one is enough, but the last may be dead
	strangerEach  = 16        // streams of one peer
	strangerSure  = 2         // of those are sure: a follower that has no more goes on, if slowly
	strangerMean  = 8         // for each that may be there: all have so many times that together
	sureShares    = 128       // what is sure is for so many addresses at least
	streamWindow  = 256 << 10 // bytes that a stream may leave lying before it was read
	// dataStrangers stay connected with a data host, of those that are let in.
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
	isMember func(peer.ID) bool   // asks nobody, and may be called at any time
	address  func(peer.ID) string // see Host.Address; may be called at any time
	in, out  *crowd
}

func newApart(rm manager, streams int, isMember func(peer.ID) bool, address func(peer.ID) string) *apart {
	return &apart{rm, isMember, address, newCrowd(streams), newCrowd(streams)}
}

// strangersConns is how many connections all strangers may make, where up to guests stay.
func strangersConns(guests int) int { return strangerConns*guests + maxVisitors }

// makeRoom adds what strangers may take to the limits of a host, where up to guests of them
// stay connected. It returns the streams among that, each way, and the memory in bytes.
func makeRoom(l *rcmgr.ScalingLimitConfig, guests int) (streams int, memory int64) {
	streams = strangerMean * (guests + maxVisitors)
	memory = 2 * int64(streams) * streamWindow
	for _, of := range []*rcmgr.BaseLimit{&l.SystemBaseLimit, &l.TransientBaseLimit, &l.ProtocolBaseLimit, &l.ServiceBaseLimit} {
		of.Streams += 2 * streams
		of.StreamsInbound += streams
		of.StreamsOutbound += streams
		of.Memory += memory
	}
	for _, of := range []*rcmgr.BaseLimit{&l.SystemBaseLimit, &l.TransientBaseLimit} {
		of.Conns += arrivalsMost
		of.ConnsInbound += arrivalsMost
	}
	l.TransientBaseLimit.FD += arrivalsMost
	l.SystemBaseLimit.Conns += strangersConns(guests)
	l.SystemBaseLimit.ConnsInbound += strangersConns(guests)
	return streams, memory
}

// OpenStream implements network.ResourceManager.
func (a *apart) OpenStream(p peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	if a.isMember(p) {
		return a.manager.OpenStream(p, dir)
	}
	of, address := a.out, a.address(p)
	if dir == network.DirInbound {
		of = a.in
	}
	if !of.enter(p, address) {
		return nil, network.ErrResourceLimitExceeded
	}
	leave := sync.OnceFunc(func() { of.leave(p, address) })
	s, err := a.manager.OpenStream(p, dir)
	if err != nil {
		leave()
		return nil, err
	}
	return &apartScope{s, leave}, nil
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

// A crowd are all strangers' streams one way. Half of the most are shared while there are any; the
// other half is for the first ones of those that come then.
type crowd struct {
	most int

	mu        sync.Mutex
	open      int
	peers     map[peer.ID]int
	addresses map[string]int
}

func newCrowd(most int) *crowd {
	return &crowd{most: most, peers: map[peer.ID]int{}, addresses: map[string]int{}}
}

// enter counts a stream, if the peer may have it: while it has fewer than are left of what is
// shared, beside what its address has. So each of n addresses that want all has 1/(1+n) of that,
// its peers as many each, and as many are left: for who comes next. These are dynamic thresholds, as
// for the shared memory of a switch (Choudhury and Hahne, 1998), which take back nothing: the first
// of each peer are sure, as far as its address does not have its part of all.
func (c *crowd) enter(p peer.ID, address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	has, of := c.peers[p], c.addresses[address]
	sure := has < strangerSure && of < c.most/sureShares && c.open < c.most
	if has >= strangerEach || !sure && has >= c.most/2-c.open-of {
		return false
	}
	c.open++
	c.peers[p]++
	c.addresses[address]++
	return true
}

func (c *crowd) leave(p peer.ID, address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.peers[p]--; c.peers[p] == 0 {
		delete(c.peers, p)
	}
	if c.addresses[address]--; c.addresses[address] == 0 {
		delete(c.addresses, address)
	}
}
