package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// rule tells what is wrong with the value of a setting, which is not the zero value:
// that one means the default.
type rule func(v reflect.Value) error

const (
	mib  = 1 << 20
	tib  = 1 << 40
	year = 365 * 24 * time.Hour
)

// rules hold for a setting alone. Every setting that is not a boolean has one.
var rules = map[string]rule{
	"cluster.peername":                                 label,
	"cluster.cluster_name":                             label,
	"cluster.join_policy":                              oneOf(JoinByToken, JoinBySecret),
	"cluster.secret":                                   anything, // its type checks it
	"cluster.listen_multiaddress":                      listened,
	"cluster.announce_multiaddress":                    addresses,
	"cluster.no_announce_multiaddress":                 addresses,
	"cluster.peer_addresses":                           peers,
	"cluster.connection_manager.high_water":            whole(1, 1e6),
	"cluster.connection_manager.low_water":             whole(1, 1e6),
	"cluster.connection_manager.grace_period":          lasting(0, year),
	"cluster.resource_manager.memory_limit_bytes":      whole(16*mib, 1024*tib),
	"cluster.resource_manager.file_descriptors_limit":  whole(16, 1e7),
	"cluster.pubsub.seen_messages_ttl":                 lasting(time.Second, year),
	"cluster.pubsub.heartbeat_interval":                lasting(10*time.Millisecond, time.Hour),
	"cluster.pubsub.d_factor":                          whole(1, 100),
	"cluster.pubsub.history_gossip":                    whole(1, 1000),
	"cluster.pubsub.history_length":                    whole(1, 1000),
	"cluster.dial_peer_timeout":                        lasting(time.Millisecond, time.Hour),
	"cluster.mdns_interval":                            lasting(0, year),
	"cluster.replication_factor_min":                   whole(-1, 10_000),
	"cluster.replication_factor_max":                   whole(-1, 10_000),
	"cluster.spread_by":                                names,
	"cluster.forward_calls":                            whole(1, 1000),
	"cluster.forward_timeout":                          lasting(time.Millisecond, time.Hour),
	"cluster.forward_retry":                            lasting(time.Millisecond, time.Hour),
	"cluster.catch_up_timeout":                         lasting(time.Millisecond, time.Hour),
	"cluster.settle_time":                              lasting(0, time.Hour),
	"cluster.repair_grace":                             lasting(time.Millisecond, year),
	"cluster.repair_pins":                              whole(1, 1e9),
	"cluster.repair_recheck":                           lasting(time.Millisecond, year),
	"cluster.monitor_ping_interval":                    lasting(10*time.Millisecond, time.Hour),
	"cluster.pin_recover_interval":                     lasting(time.Millisecond, year),
	"consensus.raft.heartbeat_timeout":                 lasting(5*time.Millisecond, time.Hour),
	"consensus.raft.election_timeout":                  lasting(5*time.Millisecond, time.Hour),
	"consensus.raft.leader_lease_timeout":              lasting(5*time.Millisecond, time.Hour),
	"consensus.raft.commit_timeout":                    lasting(time.Millisecond, time.Hour),
	"consensus.raft.network_timeout":                   lasting(10*time.Millisecond, time.Hour),
	"consensus.raft.max_append_entries":                whole(1, 1024), // hashicorp/raft's bound
	"consensus.raft.voters":                            whole(1, 99),
	"consensus.raft.replace_after":                     lasting(time.Millisecond, year),
	"consensus.raft.voter_interval":                    lasting(time.Millisecond, time.Hour),
	"consensus.raft.log_bytes":                         whole(64<<10, tib),
	"consensus.raft.log_cache_bytes":                   whole(1, tib),
	"consensus.raft.snapshot_threshold":                whole(1, 1e12),
	"consensus.raft.trailing_logs":                     whole(1, 1e12),
	"consensus.raft.stall_limit":                       lasting(10*time.Millisecond, time.Hour),
	"state.cache_bytes":                                whole(64<<10, tib),
	"state.memtable_bytes":                             whole(64<<10, 2048*mib),
	"api.restapi.http_listen_multiaddress":             anything, // web.Options.Validate knows the rest
	"api.restapi.libp2p_listen_multiaddress":           anything,
	"api.restapi.id":                                   anything,
	"api.restapi.private_key":                          anything,
	"api.restapi.ssl_cert_file":                        anything,
	"api.restapi.ssl_key_file":                         anything,
	"api.restapi.read_timeout":                         lasting(time.Millisecond, year),
	"api.restapi.read_header_timeout":                  lasting(time.Millisecond, year),
	"api.restapi.write_timeout":                        lasting(time.Millisecond, year),
	"api.restapi.idle_timeout":                         lasting(time.Millisecond, year),
	"api.restapi.max_header_bytes":                     whole(4096, 64*mib),
	"api.restapi.basic_auth_credentials":               anything,
	"api.restapi.basic_auth_scopes":                    anything,
	"api.restapi.http_log_file":                        anything,
	"api.restapi.headers":                              anything,
	"api.restapi.cors_allowed_origins":                 anything,
	"api.restapi.cors_allowed_methods":                 names,
	"api.restapi.cors_allowed_headers":                 names,
	"api.restapi.cors_exposed_headers":                 names,
	"api.restapi.cors_max_age":                         lasting(0, year),
	"api.pinsvcapi.http_listen_multiaddress":           anything,
	"api.pinsvcapi.libp2p_listen_multiaddress":         anything,
	"api.pinsvcapi.id":                                 anything,
	"api.pinsvcapi.private_key":                        anything,
	"api.pinsvcapi.ssl_cert_file":                      anything,
	"api.pinsvcapi.ssl_key_file":                       anything,
	"api.pinsvcapi.read_timeout":                       lasting(time.Millisecond, year),
	"api.pinsvcapi.read_header_timeout":                lasting(time.Millisecond, year),
	"api.pinsvcapi.write_timeout":                      lasting(time.Millisecond, year),
	"api.pinsvcapi.idle_timeout":                       lasting(time.Millisecond, year),
	"api.pinsvcapi.max_header_bytes":                   whole(4096, 64*mib),
	"api.pinsvcapi.basic_auth_credentials":             anything,
	"api.pinsvcapi.basic_auth_scopes":                  anything,
	"api.pinsvcapi.http_log_file":                      anything,
	"api.pinsvcapi.headers":                            anything,
	"api.pinsvcapi.cors_allowed_origins":               anything,
	"api.pinsvcapi.cors_allowed_methods":               names,
	"api.pinsvcapi.cors_allowed_headers":               names,
	"api.pinsvcapi.cors_exposed_headers":               names,
	"api.pinsvcapi.cors_max_age":                       lasting(0, year),
	"api.ipfsproxy.cors_allowed_origins":               anything,
	"api.ipfsproxy.listen_multiaddress":                anything, // proxy.Options.Validate knows the rest
	"api.ipfsproxy.node_multiaddress":                  anything,
	"api.ipfsproxy.log_file":                           anything,
	"api.ipfsproxy.read_timeout":                       lasting(time.Millisecond, year),
	"api.ipfsproxy.read_header_timeout":                lasting(time.Millisecond, year),
	"api.ipfsproxy.write_timeout":                      lasting(time.Millisecond, year),
	"api.ipfsproxy.idle_timeout":                       lasting(time.Millisecond, year),
	"api.ipfsproxy.max_header_bytes":                   whole(4096, 64*mib),
	"api.ipfsproxy.extract_headers_extra":              names,
	"api.ipfsproxy.extract_headers_path":               anything,
	"api.ipfsproxy.extract_headers_ttl":                lasting(0, year),
	"ipfs_connector.ipfshttp.node_multiaddress":        address,
	"ipfs_connector.ipfshttp.ipfs_request_timeout":     lasting(time.Millisecond, year),
	"ipfs_connector.ipfshttp.pin_timeout":              lasting(time.Millisecond, year),
	"ipfs_connector.ipfshttp.unpin_timeout":            lasting(time.Millisecond, year),
	"ipfs_connector.ipfshttp.repogc_timeout":           lasting(time.Millisecond, year),
	"embedded.swarm_listen_multiaddress":               listened,
	"embedded.swarm_announce_multiaddress":             addresses,
	"embedded.connection_manager.high_water":           whole(1, 1e6),
	"embedded.connection_manager.low_water":            whole(1, 1e6),
	"embedded.connection_manager.grace_period":         lasting(0, year),
	"embedded.resource_manager.memory_limit_bytes":     whole(16*mib, 1024*tib),
	"embedded.resource_manager.file_descriptors_limit": whole(16, 1e7),
	"embedded.max_bandwidth":                           whole(64<<10, tib),
	"embedded.storage_max":                             whole(mib, 1<<20*tib),
	"embedded.disk_reserve":                            whole(1, 1<<20*tib),
	"embedded.gateway_listen_multiaddress":             addressOrOff,
	"metrics.listen_multiaddress":                      addressOrOff,
	"embedded.gateway_hosts":                           gatewayHosts,
	"embedded.gateway_requests":                        whole(1, 1e6),
	"embedded.gateway_connections":                     whole(1, 1e6),
	"embedded.retrieval_timeout":                       lasting(time.Millisecond, year),
	"embedded.pin_timeout":                             lasting(time.Millisecond, year),
	"embedded.fetch_concurrency":                       whole(1, 100_000),
	"embedded.cache_bytes":                             whole(64<<10, tib),
	"embedded.mem_table_bytes":                         whole(64<<10, 2048*mib),
	"pin_tracker.stateless.concurrent_pins":            whole(1, 100_000),
	"pin_tracker.stateless.concurrent_finds":           whole(1, 1e6),
	"pin_tracker.stateless.find_patience":              lasting(time.Millisecond, year),
	"pin_tracker.stateless.find_patience_max":          lasting(time.Millisecond, year),
	"pin_tracker.stateless.retry_backoff":              lasting(time.Millisecond, year),
	"pin_tracker.stateless.retry_backoff_max":          lasting(time.Millisecond, year),
	"pin_tracker.stateless.stall_timeout":              lasting(time.Millisecond, year),
	"pin_tracker.stateless.add_mark_age":               lasting(time.Millisecond, year),
	"monitor.pubsubmon.check_interval":                 lasting(time.Millisecond, time.Hour),
	"informer.tags.tags":                               labels,
	"followers.hold":                                   oneOf(HoldAll, HoldAllocated),
	"followers.max_connections":                        whole(1, 1e6),
	"followers.max_bandwidth":                          whole(64<<10, tib),
	"followers.max_admitted":                           whole(1, 1e6),
	"followers.ask_interval":                           lasting(100*time.Millisecond, year),
	"followers.challenge_interval":                     lasting(100*time.Millisecond, year),
	"follow.source":                                    webAddress,
	"follow.hold":                                      oneOf(HoldAll, HoldAllocated, HoldShare),
	"follow.capacity":                                  whole(mib, 1<<20*tib),
	"follow.pinset_max":                                whole(64*mib, 1<<20*tib),
	"follow.neighbours":                                whole(1, 64),
	"follow.gc_interval":                               lasting(time.Second, year),
}

// checkEach applies the rules to what is set.
func (r *reading) checkEach() {
	for _, k := range r.keys {
		rule := rules[k.String()]
		if rule == nil || k.field.IsZero() || r.faulty(k.String()) {
			continue
		}
		if err := rule(k.field); err != nil {
			r.addf([]string{k.String()}, "%v", err)
		}
	}
}

// checkGateway warns, before the defaults are filled in, of a gateway that is not there.
func (r *reading) checkGateway(c Config) {
	if a := c.Embedded.Gateway.ListenMultiaddress; c.IPFSConnector.Kubo.NodeMultiaddress != "" && a != "" && a != gateway.Off {
		r.warnf("embedded.gateway_listen_multiaddress has no effect: with a Kubo daemon as the node, content is served by Kubo's own gateway (Addresses.Gateway in its configuration)")
	}
}

// checkTogether checks what settings must be to each other, defaults filled in.
func (r *reading) checkTogether(c Config) {
	factors := []string{"cluster.replication_factor_min", "cluster.replication_factor_max"}
	lo, hi := c.Cluster.Pinner.ReplicationFactorMin, c.Cluster.Pinner.ReplicationFactorMax
	if !r.faulty(factors...) && (lo > hi || lo == 0 || hi == 0 || (lo < 0) != (hi < 0)) {
		r.addf(factors, "%d and %d must both be -1, or both 1 or more with the first not above the second", lo, hi)
	}
	host, data := c.Cluster.Host, c.Embedded.Data
	inOrder(r, "cluster.connection_manager.low_water", host.ConnectionManager.LowWater, "cluster.connection_manager.high_water", host.ConnectionManager.HighWater)
	inOrder(r, "embedded.connection_manager.low_water", data.ConnectionManager.LowWater, "embedded.connection_manager.high_water", data.ConnectionManager.HighWater)
	inOrder(r, "cluster.pubsub.history_gossip", host.PubSub.HistoryGossip, "cluster.pubsub.history_length", host.PubSub.HistoryLength)
	raft, tracker := c.Consensus.Raft, c.PinTracker.Stateless
	inOrder(r, "consensus.raft.leader_lease_timeout", raft.LeaderLeaseTimeout, "consensus.raft.heartbeat_timeout", raft.HeartbeatTimeout)
	inOrder(r, "consensus.raft.heartbeat_timeout", raft.HeartbeatTimeout, "consensus.raft.election_timeout", raft.ElectionTimeout)
	inOrder(r, "pin_tracker.stateless.find_patience", tracker.Patience, "pin_tracker.stateless.find_patience_max", tracker.MaxPatience)
	inOrder(r, "pin_tracker.stateless.retry_backoff", tracker.Backoff, "pin_tracker.stateless.retry_backoff_max", tracker.MaxBackoff)

	r.checkDoor("api.restapi", c.API.REST)
	r.checkDoor("api.pinsvcapi", c.API.PinSvc)
	r.checkDoor("api.ipfsproxy", c.API.Proxy)
	const write = "change the cluster"
	r.checkOpen("api.restapi", c.API.REST, write)
	r.checkOpen("api.pinsvcapi", c.API.PinSvc, write)
	if c.Cluster.Pinner.NoRepair {
		r.warnf("cluster.disable_repinning is true: the pins of a dead peer are not placed anew. IPFS Cluster writes it into every file; take it out unless you mean it")
	}
}

// checkDoor checks the section of an HTTP door.
func (r *reading) checkDoor(section string, o interface{ Validate() error }) {
	if r.faulty(section) {
		return
	}
	err := o.Validate()
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		name, text, _ := strings.Cut(line, ": ")
		if path := section + "." + name; !r.faulty(path) {
			r.addf([]string{path}, "%s", text)
		}
	}
}

// checkOpen warns of a door that other machines can reach, and that asks for no password.
func (r *reading) checkOpen(section string, o web.Options, may string) {
	if o.BasicAuthCredentials != nil || r.faulty(section) {
		return
	}
	for _, text := range o.HTTPListenMultiaddress {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			continue // a fault, told elsewhere
		}
		if ip, err := manet.ToIP(a); err == nil && !ip.IsLoopback() {
			r.warnf("%s.http_listen_multiaddress: other machines may reach %s, and no password is asked for: whoever does can %s. Set %[1]s.basic_auth_credentials, or listen on 127.0.0.1",
				section, text, may)
		}
	}
}

// inOrder is a fault unless low <= high.
func inOrder[T cmp.Ordered](r *reading, lowPath string, low T, highPath string, high T) {
	if low > high && !r.faulty(lowPath, highPath) {
		r.addf([]string{lowPath, highPath}, "%v and %v: the first must not be above the second", low, high)
	}
}

func anything(reflect.Value) error { return nil }

func whole(lo, hi int64) rule {
	return func(v reflect.Value) error {
		var bad bool
		if v.CanUint() {
			bad = v.Uint() < uint64(lo) || v.Uint() > uint64(hi)
		} else {
			bad = v.Int() < lo || v.Int() > hi
		}
		if bad {
			return fmt.Errorf("%v is not between %d and %d", v, lo, hi)
		}
		return nil
	}
}

func lasting(lo, hi time.Duration) rule {
	return func(v reflect.Value) error {
		switch d := time.Duration(v.Int()); {
		case d < 0:
			return fmt.Errorf("%v must not be negative", d)
		case d < lo || d > hi:
			return fmt.Errorf("%v is not between %v and %v", d, lo, hi)
		}
		return nil
	}
}

func oneOf(values ...string) rule {
	return func(v reflect.Value) error {
		for _, s := range values {
			if v.String() == s {
				return nil
			}
		}
		return fmt.Errorf("%q is not one of %s", v.String(), strings.Join(values, ", "))
	}
}

// label is a name that people give: it is printed in tables.
func label(v reflect.Value) error {
	s := v.String()
	if len(s) > 255 {
		return errors.New("is longer than 255 bytes")
	}
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("%q must be printable characters without spaces around them", s)
	}
	return nil
}

func labels(v reflect.Value) error {
	for _, name := range v.MapKeys() {
		if err := label(name); err != nil {
			return err
		}
		if err := label(v.MapIndex(name)); err != nil {
			return err
		}
	}
	return nil
}

func names(v reflect.Value) error {
	for i := range v.Len() {
		if err := label(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func address(v reflect.Value) error {
	a, err := multiaddr.NewMultiaddr(v.String())
	if err != nil {
		return fmt.Errorf("%q is not an address such as /ip4/127.0.0.1/tcp/8080: %w", v.String(), err)
	}
	if network, _, err := manet.DialArgs(a); err != nil || !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("%q is not a TCP address such as /ip4/127.0.0.1/tcp/8080", v.String())
	}
	return nil
}

// webAddress is a URL of HTTP.
func webAddress(v reflect.Value) error {
	u, err := url.Parse(v.String())
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not a URL such as https://example.org/follow.json", v.String())
	}
	return nil
}

func addressOrOff(v reflect.Value) error {
	if v.String() == gateway.Off {
		return nil
	}
	return address(v)
}

func gatewayHosts(v reflect.Value) error {
	for i := range v.Len() {
		if err := gateway.CheckHost(v.Index(i).String()); err != nil {
			return err
		}
	}
	return nil
}

func addresses(v reflect.Value) error {
	for i := range v.Len() {
		if v.Index(i).Len() == 0 {
			return errors.New("holds an empty address")
		}
	}
	return nil
}

// listened are addresses of which one is of TCP: those that are not are left out when
// the host starts, for IPFS Cluster's files name one of QUIC.
func listened(v reflect.Value) error {
	for i := range v.Len() {
		if _, err := v.Index(i).Interface().(multiaddr.Multiaddr).ValueForProtocol(multiaddr.P_TCP); err == nil {
			return nil
		}
	}
	return errors.New("holds no TCP address such as /ip4/0.0.0.0/tcp/9096")
}

// peers are addresses that say whose they are.
func peers(v reflect.Value) error {
	for i := range v.Len() {
		a := v.Index(i).Interface().(multiaddr.Multiaddr)
		if _, err := peer.AddrInfoFromP2pAddr(a); err != nil {
			return fmt.Errorf("%q does not end in /p2p and a peer's ID", a)
		}
	}
	return nil
}
