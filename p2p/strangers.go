package p2p

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// Limits on the streams of peers that are not members. Peer IDs cost nothing, so
// they are counted by IP address.
const (
	strangerStreams     = 64          // open at once, of all
	strangerStreamsEach = 16          // open at once, of one address
	strangerRate        = 10          // streams a second, of one address
	strangerBurst       = 40          // of one address, at once
	strangerLifetime    = time.Minute // of a stream
	strangerAddresses   = 1024        // remembered
)

// strangers counts the streams of peers that are not members.
type strangers struct {
	vouched func(peer.ID) bool // whose streams make no room for others

	mu   sync.Mutex
	open map[*strangerStream]time.Time // since when
	by   map[string]*visitor
}

type visitor struct {
	open int
	rate *rate.Limiter
}

func newStrangers(vouched func(peer.ID) bool) *strangers {
	return &strangers{vouched: vouched, open: map[*strangerStream]time.Time{}, by: map[string]*visitor{}}
}

// admit returns s as a stream that gives its place back when it ends, which it does
// within strangerLifetime.
func (st *strangers) admit(s network.Stream) (*strangerStream, error) {
	guest := &strangerStream{Stream: s, from: s.Conn().RemotePeer(), address: addressKey(s.Conn().RemoteMultiaddr())}
	guest.leave = sync.OnceFunc(func() { st.leave(guest) })
	guest.timer = time.AfterFunc(strangerLifetime, func() { guest.Reset() })
	lost, err := st.enter(guest, time.Now())
	if err != nil {
		guest.timer.Stop()
		return nil, err
	}
	if lost != nil {
		lost.Reset()
	}
	return guest, nil
}

// enter counts a stream, if there is room. Where another has lost its place for that, it
// says which.
func (st *strangers) enter(s *strangerStream, now time.Time) (lost *strangerStream, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	v := st.by[s.address]
	if v == nil {
		if len(st.by) >= strangerAddresses {
			st.forget(now)
		}
		if len(st.by) >= strangerAddresses {
			return nil, fmt.Errorf("too many strangers")
		}
		v = &visitor{rate: rate.NewLimiter(strangerRate, strangerBurst)}
		st.by[s.address] = v
	}
	if !v.rate.AllowN(now, 1) {
		return nil, fmt.Errorf("too many streams of strangers at %s in a short time", s.address)
	}
	// However long one takes already, it goes for no other of its address: it may be long.
	lost, ok := MakesRoom(st.places(), s.address, strangerStreams, strangerStreamsEach, time.Time{})
	if !ok {
		return nil, fmt.Errorf("too many streams of strangers: %d open, %d of them from %s", len(st.open), v.open, s.address)
	}
	if lost != nil {
		st.remove(lost)
	}
	st.open[s] = now
	v.open++
	return lost, nil
}

// places are those of the open streams. The caller holds mu.
func (st *strangers) places() []Place[*strangerStream] {
	all := make([]Place[*strangerStream], 0, len(st.open))
	for s, since := range st.open {
		all = append(all, Place[*strangerStream]{Of: s, Address: s.address, Since: since, Kept: st.vouched(s.from)})
	}
	return all
}

func (st *strangers) leave(s *strangerStream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, ok := st.open[s]; ok { // it may have lost its place
		st.remove(s)
	}
}

// remove ends the count of a stream. The caller holds mu.
func (st *strangers) remove(s *strangerStream) {
	delete(st.open, s)
	st.by[s.address].open--
}

// forget drops those that may open as many as ever. The caller holds mu.
func (st *strangers) forget(now time.Time) {
	for key, v := range st.by {
		if v.open == 0 && v.rate.TokensAt(now) >= strangerBurst {
			delete(st.by, key)
		}
	}
}

// AddressKey is what Host.Address gives for a peer at this address.
func AddressKey(a multiaddr.Multiaddr) string { return addressKey(a) }

// addressKey is the IP address, or what of it one customer of a network has.
func addressKey(a multiaddr.Multiaddr) string {
	ip, err := manet.ToIP(a)
	if err != nil {
		return a.String()
	}
	if six, ok := netip.AddrFromSlice(ip); ok && ip.To4() == nil {
		return netip.PrefixFrom(six, 64).Masked().String()
	}
	return ip.String()
}

// strangerStream is a stream that holds one of the strangers' places.
type strangerStream struct {
	network.Stream
	from    peer.ID
	address string // see addressKey
	leave   func()
	timer   *time.Timer
}

// release gives the place back and lets the stream live on: it is a member's.
func (s *strangerStream) release() network.Stream {
	s.timer.Stop()
	s.leave()
	return s.Stream
}

// Close implements network.Stream.
func (s *strangerStream) Close() error {
	s.timer.Stop()
	s.leave()
	return s.Stream.Close()
}

// Reset implements network.Stream.
func (s *strangerStream) Reset() error {
	s.timer.Stop()
	s.leave()
	return s.Stream.Reset()
}

// ResetWithError implements network.Stream.
func (s *strangerStream) ResetWithError(code network.StreamErrorCode) error {
	s.timer.Stop()
	s.leave()
	return s.Stream.ResetWithError(code)
}
