package p2p

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// Limits on the streams of peers that are not members. Peer IDs cost nothing, so
// they are counted by IP address.
const (
	strangerStreams       = 64          // open at once, of all
	strangerStreamsEach   = 16          // open at once, of one address
	strangerRate          = 10          // streams a second, of one address
	strangerBurst         = 40          // of one address, at once
	strangerLifetime      = time.Minute // of a stream
	strangerAddresses     = 1024        // remembered before idle ones are forgotten
	strangerAddressMemory = time.Minute
)

// strangers counts the streams of peers that are not members.
type strangers struct {
	mu   sync.Mutex
	open int
	by   map[string]*visitor
}

type visitor struct {
	open int
	rate *rate.Limiter
	last time.Time
}

func newStrangers() *strangers { return &strangers{by: map[string]*visitor{}} }

// admit returns s as a stream that gives its place back when it ends, which it does
// within strangerLifetime.
func (st *strangers) admit(s network.Stream) (*strangerStream, error) {
	key := addressKey(s.Conn().RemoteMultiaddr())
	if err := st.enter(key, time.Now()); err != nil {
		return nil, err
	}
	guest := &strangerStream{Stream: s}
	guest.leave = sync.OnceFunc(func() { st.leave(key) })
	guest.timer = time.AfterFunc(strangerLifetime, func() { guest.Reset() })
	return guest, nil
}

func (st *strangers) enter(key string, now time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	v := st.by[key]
	if v == nil {
		if len(st.by) >= strangerAddresses {
			st.forget(now)
		}
		if len(st.by) >= strangerAddresses {
			return fmt.Errorf("too many strangers")
		}
		v = &visitor{rate: rate.NewLimiter(strangerRate, strangerBurst)}
		st.by[key] = v
	}
	v.last = now
	if st.open >= strangerStreams || v.open >= strangerStreamsEach || !v.rate.AllowN(now, 1) {
		return fmt.Errorf("too many streams of strangers: %d open, %d of them from %s", st.open, v.open, key)
	}
	st.open++
	v.open++
	return nil
}

func (st *strangers) leave(key string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.open--
	st.by[key].open--
}

func (st *strangers) forget(now time.Time) {
	for key, v := range st.by {
		if v.open == 0 && now.Sub(v.last) > strangerAddressMemory {
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
	leave func()
	timer *time.Timer
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
