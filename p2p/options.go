package p2p

import (
	"context"
	"net"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/multiformats/go-multiaddr"
)

// Options tune a Host. The zero value of a field means its default.
type Options struct {
	// Secret is the key of the private network, 64 hexadecimal digits; init makes one.
	Secret Secret `json:"secret"`
	// Listen are the addresses to listen on; /ip4/0.0.0.0/tcp/9096. Only TCP.
	Listen []multiaddr.Multiaddr `json:"listen_multiaddress"`
	// Announce are told to others instead of the addresses listened on, NoAnnounce
	// never are.
	Announce   []multiaddr.Multiaddr `json:"announce_multiaddress"`
	NoAnnounce []multiaddr.Multiaddr `json:"no_announce_multiaddress"`
	// PeerAddresses are peers to connect to before any other, each with its /p2p.
	PeerAddresses []multiaddr.Multiaddr `json:"peer_addresses"`
	// PeerstoreFile is where known addresses are kept, one a line; "" nowhere.
	PeerstoreFile string `json:"-"`

	ConnectionManager ConnectionManager `json:"connection_manager"`
	ResourceManager   ResourceManager   `json:"resource_manager"`
	PubSub            PubSub            `json:"pubsub"`

	// Guests are how many peers that are no members may stay connected; none, and no feed.
	Guests int `json:"-"`

	// Learn is given the renewals of the cluster's key that peers show whose certificate is
	// of a key that is not known here, or that AskRenewals brought: it is for followers. nil:
	// they count for the certificate of who shows them, and no more.
	Learn func(shown [][]byte) `json:"-"`

	// DialPeerTimeout bounds one attempt to connect to a peer; 3s.
	DialPeerTimeout time.Duration `json:"dial_peer_timeout"`
	// Dial makes TCP connections instead of the system's dialer, where it is set.
	Dial Dialer `json:"-"`
	// MDNSInterval other than 0 looks for the cluster's peers in the local network
	// by multicast DNS. How long it is does not matter.
	MDNSInterval time.Duration `json:"mdns_interval"`
}

// Dialer makes a connection to an address (host:port) of a network ("tcp4", "tcp6").
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext makes a Dialer what libp2p asks for.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// ConnectionManager bounds the number of connections; those to members do not count
// as superfluous.
type ConnectionManager struct {
	HighWater   int           `json:"high_water"`   // with more connections than this, idle ones are closed; 400
	LowWater    int           `json:"low_water"`    // until there are this many; 100
	GracePeriod time.Duration `json:"grace_period"` // for which a new connection is left alone; 2m
}

// ResourceManager bounds what all connections together may take.
type ResourceManager struct {
	Enabled *bool `json:"enabled"` // whether there are bounds; true
	// MemoryLimitBytes is what all members' connections may take of the memory; an eighth
	// of the machine's. What others may take at most, 4 MiB each of them, comes on top:
	// they cannot use up what is the members'.
	MemoryLimitBytes     int64 `json:"memory_limit_bytes"`
	FileDescriptorsLimit int   `json:"file_descriptors_limit"` // open at most; half of what the process may have
}

// PubSub tunes gossipsub.
type PubSub struct {
	SeenMessagesTTL   time.Duration `json:"seen_messages_ttl"`  // how long a message is known not to be new; 2m
	HeartbeatInterval time.Duration `json:"heartbeat_interval"` // between repairs of the mesh that messages spread over; 1s
	DFactor           int           `json:"d_factor"`           // how many times gossipsub's own 6 peers get a message directly; 4
	HistoryGossip     int           `json:"history_gossip"`     // heartbeats whose messages are told of; 3
	HistoryLength     int           `json:"history_length"`     // heartbeats whose messages are kept; 5
	// FloodPublish sends own messages to all members, not to the mesh only; true. Without
	// it, what is said before the mesh stands, after a start, is lost.
	FloodPublish *bool `json:"flood_publish"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if len(o.Listen) == 0 {
		o.Listen = []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/0.0.0.0/tcp/9096")}
	}
	o.ConnectionManager = o.ConnectionManager.withDefaults()
	o.ResourceManager = o.ResourceManager.withDefaults()
	o.PubSub = o.PubSub.withDefaults()
	def(&o.DialPeerTimeout, 3*time.Second)
	return o
}

func (c ConnectionManager) withDefaults() ConnectionManager {
	def(&c.HighWater, 400)
	def(&c.LowWater, 100)
	def(&c.GracePeriod, 2*time.Minute)
	return c
}

func (m ResourceManager) withDefaults() ResourceManager {
	if m.Enabled == nil {
		m.Enabled = new(true)
	}
	return m
}

func (p PubSub) withDefaults() PubSub {
	def(&p.SeenMessagesTTL, 2*time.Minute)
	def(&p.HeartbeatInterval, time.Second)
	def(&p.DFactor, 4)
	def(&p.HistoryGossip, pubsub.GossipSubHistoryGossip)
	def(&p.HistoryLength, pubsub.GossipSubHistoryLength)
	if p.FloodPublish == nil {
		p.FloodPublish = new(true)
	}
	return p
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// params are gossipsub's, with its degrees multiplied: every member of a cluster of
// ordinary size is then in the mesh of every other, one hop away.
func (p PubSub) params() pubsub.GossipSubParams {
	g := pubsub.DefaultGossipSubParams()
	g.D *= p.DFactor
	g.Dlo *= p.DFactor
	g.Dhi *= p.DFactor
	g.Dscore *= p.DFactor
	g.Dout *= p.DFactor
	g.Dlazy *= p.DFactor
	g.HeartbeatInterval = p.HeartbeatInterval
	g.HistoryGossip = p.HistoryGossip
	g.HistoryLength = p.HistoryLength
	return g
}

// DataOptions tune a DataHost. The zero value of a field means its default.
type DataOptions struct {
	// Listen are the addresses to listen on; /ip4/0.0.0.0/tcp/4001. Only TCP.
	Listen []multiaddr.Multiaddr `json:"swarm_listen_multiaddress"`
	// Announce are told to others instead of the addresses listened on.
	Announce []multiaddr.Multiaddr `json:"swarm_announce_multiaddress"`
	// Public lets anybody connect and fetch blocks, not members only.
	Public bool `json:"public"`
	// MaxBandwidth bounds the blocks that come in, and those that go out, in bytes a
	// second each; 0 is no bound. Members come first: others have what these leave, and a
	// fifth at least.
	MaxBandwidth      uint64            `json:"max_bandwidth"`
	ConnectionManager ConnectionManager `json:"connection_manager"`
	ResourceManager   ResourceManager   `json:"resource_manager"`
	// Dial makes TCP connections instead of the system's dialer, where it is set.
	Dial Dialer `json:"-"`
}

// WithDefaults returns o with its defaults filled in.
func (o DataOptions) WithDefaults() DataOptions {
	if len(o.Listen) == 0 {
		o.Listen = []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/0.0.0.0/tcp/4001")}
	}
	o.ConnectionManager = o.ConnectionManager.withDefaults()
	o.ResourceManager = o.ResourceManager.withDefaults()
	return o
}
