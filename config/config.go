// Package config reads the one settings tree of a peer.
//
// Settings come from three places, each over the one before: the defaults, the file
// service.json, and the environment (CLUSTER_*). The names are those of IPFS Cluster,
// so that a deployment's file and environment carry over. A section of the tree is the
// Options of the package that it configures; what a setting means stands there, and in
// docs/config.md, which a test makes from it.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/api/pinsvc"
	"github.com/pinfold-cluster/pinfold/api/proxy"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
	"github.com/pinfold-cluster/pinfold/monitor"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/pinner"
	"github.com/pinfold-cluster/pinfold/pintracker"
	"github.com/pinfold-cluster/pinfold/state"
)

// File is the name of the settings' file in a peer's directory.
const File = "service.json"

// Config is the settings tree.
type Config struct {
	Cluster       Cluster       `json:"cluster"`
	Consensus     Consensus     `json:"consensus"`
	State         state.Options `json:"state"`
	API           API           `json:"api"`
	IPFSConnector IPFSConnector `json:"ipfs_connector"`
	Embedded      Embedded      `json:"embedded"`
	PinTracker    PinTracker    `json:"pin_tracker"`
	Monitor       Monitor       `json:"monitor"`
	Informer      Informer      `json:"informer"`
	Followers     Followers     `json:"followers"`
	Metrics       Metrics       `json:"metrics"`
}

// DefaultMetricsAddress is where metrics are served unless told otherwise.
const DefaultMetricsAddress = "/ip4/127.0.0.1/tcp/8888"

// Metrics is the section of the door for Prometheus.
type Metrics struct {
	// ListenMultiaddress is where GET /metrics is answered without credentials, or off;
	// /ip4/127.0.0.1/tcp/8888. A peer that finds the default taken warns, and does without.
	// The REST API answers it too.
	ListenMultiaddress string `json:"listen_multiaddress"`
}

// Cluster is the section of what concerns the peer and the cluster as a whole.
type Cluster struct {
	// PeerName is what people call the peer; the machine's name.
	PeerName string `json:"peername"`
	// ClusterName is what people call the cluster. It is given once, by init; pinfold.
	ClusterName string `json:"cluster_name"`
	// JoinPolicy says who may join: token, a peer with a token from peers invite, or
	// secret, any peer that knows the swarm secret; token.
	JoinPolicy string `json:"join_policy"`

	Host    p2p.Options     `json:",inline"`
	Pinner  pinner.Options  `json:",inline"`
	Monitor monitor.Options `json:",inline"`

	// PinRecoverInterval is between comparisons of the node's pins and the pinset, which
	// also try again what has failed; 12m.
	PinRecoverInterval time.Duration `json:"pin_recover_interval"`
}

// The values of Cluster.JoinPolicy.
const (
	JoinByToken  = "token"
	JoinBySecret = "secret"
)

// Consensus holds the section of the replicated log.
type Consensus struct {
	Raft consensus.Options `json:"raft"`
}

// API holds the sections of the HTTP doors.
type API struct {
	REST   web.Options   `json:"restapi"`
	PinSvc web.Options   `json:"pinsvcapi"`
	Proxy  proxy.Options `json:"ipfsproxy"`
}

// IPFSConnector holds the section of a Kubo daemon, which stands in for the node in
// this process where its NodeMultiaddress is set.
type IPFSConnector struct {
	Kubo kubo.Options `json:"ipfshttp"`
}

// Embedded is the section of the IPFS node in this process, and of the data host,
// which carries blocks with either node; and of the HTTP gateway over that node.
type Embedded struct {
	Data    p2p.DataOptions  `json:",inline"`
	Gateway gateway.Options  `json:",inline"`
	Node    embedded.Options `json:",inline"`
}

// PinTracker holds the section of the pin tracker.
type PinTracker struct {
	Stateless pintracker.Options `json:"stateless"`
}

// Monitor holds the section of what notices that peers are dead.
type Monitor struct {
	PubSubMon PubSubMon `json:"pubsubmon"`
}

// PubSubMon is the monitor's rest; most of its settings are in Cluster.
type PubSubMon struct {
	// CheckInterval is between looks at which metrics have expired; a quarter of
	// cluster.monitor_ping_interval, 1s at most.
	CheckInterval time.Duration `json:"check_interval"`
}

// Informer holds the sections of what a peer tells of itself.
type Informer struct {
	Tags Tags `json:"tags"`
}

// Tags are what copies are spread over.
type Tags struct {
	// Tags say where the peer is, such as zone or host; {"group": "default"}.
	Tags map[string]string `json:"tags"`
}

// withDefaults fills in what nothing has set.
func (c Config) withDefaults() (Config, error) {
	if c.Cluster.PeerName == "" {
		name, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("cluster.peername is not set and the machine has no name: %w", err)
		}
		c.Cluster.PeerName = name
	}
	c.Cluster.ClusterName = cmp.Or(c.Cluster.ClusterName, "pinfold")
	c.Cluster.JoinPolicy = cmp.Or(c.Cluster.JoinPolicy, JoinByToken)
	c.Cluster.Host = c.Cluster.Host.WithDefaults()
	c.Cluster.Pinner = c.Cluster.Pinner.WithDefaults()
	c.Consensus.Raft = c.Consensus.Raft.WithDefaults()
	c.State = c.State.WithDefaults()
	c.Followers = c.Followers.withDefaults()
	c.API.REST = c.API.REST.WithDefaults()
	if len(c.API.PinSvc.HTTPListenMultiaddress) == 0 {
		c.API.PinSvc.HTTPListenMultiaddress = []string{pinsvc.DefaultAddress}
	}
	c.API.PinSvc = c.API.PinSvc.WithDefaults()
	c.API.Proxy = c.API.Proxy.WithDefaults()
	c.IPFSConnector.Kubo = c.IPFSConnector.Kubo.WithDefaults()
	c.Embedded.Data = c.Embedded.Data.WithDefaults()
	c.Embedded.Node = c.Embedded.Node.WithDefaults()
	c.Embedded.Gateway = c.Embedded.Gateway.WithDefaults()
	c.Metrics.ListenMultiaddress = cmp.Or(c.Metrics.ListenMultiaddress, DefaultMetricsAddress)
	if c.Informer.Tags.Tags == nil {
		c.Informer.Tags.Tags = map[string]string{"group": "default"}
	}
	// IPFS Cluster has one setting each of the tracker's and the monitor's elsewhere.
	c.PinTracker.Stateless.Sync = c.Cluster.PinRecoverInterval
	c.PinTracker.Stateless = c.PinTracker.Stateless.WithDefaults()
	c.Cluster.PinRecoverInterval = c.PinTracker.Stateless.Sync
	c.Cluster.Monitor.Check = c.Monitor.PubSubMon.CheckInterval
	c.Cluster.Monitor = c.Cluster.Monitor.WithDefaults()
	c.Monitor.PubSubMon.CheckInterval = c.Cluster.Monitor.Check
	return c, nil
}

// Load reads the settings of the peer in dir: its file and the environment (pairs as
// os.Environ gives them), with defaults where they say nothing. Names of files are
// taken as relative to dir. The warnings name what was ignored. The error names every
// fault; fs.ErrNotExist is in its chain where there is no file.
func Load(dir string, environ []string) (c Config, warnings []string, err error) {
	path := filepath.Join(dir, File)
	data, err := os.ReadFile(path)
	if err != nil {
		return c, nil, err
	}
	c, warnings, err = parse(data, environ)
	if err != nil {
		return c, warnings, fmt.Errorf("%s: %w", path, err)
	}
	anchor(&c.API.REST, dir)
	anchor(&c.API.PinSvc, dir)
	return c, warnings, nil
}

// anchor makes the files that a door's options name relative to dir.
func anchor(door *web.Options, dir string) {
	for _, name := range []*string{&door.SSLCertFile, &door.SSLKeyFile, &door.HTTPLogFile} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
}

// FromEnv makes settings from the environment alone, as a new peer starts with.
func FromEnv(environ []string) (c Config, warnings []string, err error) {
	if c, warnings, err = parse([]byte("{}"), environ); err != nil {
		err = fmt.Errorf("the environment: %w", err)
	}
	return c, warnings, err
}

func parse(file []byte, environ []string) (c Config, warnings []string, err error) {
	r := newReading(&c)
	r.readFile(file)
	r.readEnviron(environ)
	r.checkEach()
	r.checkGateway(c)
	if c, err = c.withDefaults(); err != nil {
		r.addf(nil, "%v", err)
	}
	r.checkTogether(c)
	return c, r.warnings, r.err()
}

// Exists tells whether dir holds settings.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
