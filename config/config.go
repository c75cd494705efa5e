// Package config reads the one settings tree of a peer.
//
// Settings come from three places, each over the one before: the defaults, the file
// service.json, and the environment (CLUSTER_*). The names are those of IPFS Cluster,
// so that a deployment's environment carries over. A section of the tree is the Options
// of the package that it configures; what a setting means stands there, and in
// docs/config.md, which a test makes from it.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
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
	Cluster    Cluster       `json:"cluster"`
	Consensus  Consensus     `json:"consensus"`
	State      state.Options `json:"state"`
	API        API           `json:"api"`
	PinTracker PinTracker    `json:"pin_tracker"`
	Informer   Informer      `json:"informer"`
	Embedded   Embedded      `json:"embedded"`
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
	REST web.Options `json:"restapi"`
}

// PinTracker holds the section of the pin tracker.
type PinTracker struct {
	Stateless pintracker.Options `json:"stateless"`
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

// Embedded is the section of the IPFS node in this process, and of the data host,
// which carries blocks with either node.
type Embedded struct {
	Data p2p.DataOptions  `json:",inline"`
	Node embedded.Options `json:",inline"`
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
	if c.Cluster.ClusterName == "" {
		c.Cluster.ClusterName = "pinfold"
	}
	if c.Cluster.JoinPolicy == "" {
		c.Cluster.JoinPolicy = JoinByToken
	}
	if c.Informer.Tags.Tags == nil {
		c.Informer.Tags.Tags = map[string]string{"group": "default"}
	}
	if c.Embedded.Node.GatewayListenMultiaddress == "" {
		c.Embedded.Node.GatewayListenMultiaddress = "/ip4/127.0.0.1/tcp/8080"
	}
	c.Cluster.Host = c.Cluster.Host.WithDefaults()
	c.Cluster.Pinner = c.Cluster.Pinner.WithDefaults()
	c.Cluster.Monitor = c.Cluster.Monitor.WithDefaults()
	c.Consensus.Raft = c.Consensus.Raft.WithDefaults()
	c.State = c.State.WithDefaults()
	c.API.REST = c.API.REST.WithDefaults()
	c.PinTracker.Stateless = c.PinTracker.Stateless.WithDefaults()
	c.Embedded.Data = c.Embedded.Data.WithDefaults()
	c.Embedded.Node = c.Embedded.Node.WithDefaults()
	return c, nil
}

// Load reads the settings of the peer in dir: its file and the environment (pairs as
// os.Environ gives them), with defaults where they say nothing. The warnings name what
// was ignored. The error names every fault; fs.ErrNotExist is in its chain where there
// is no file.
func Load(dir string, environ []string) (c Config, warnings []string, err error) {
	path := filepath.Join(dir, File)
	data, err := os.ReadFile(path)
	if err != nil {
		return c, nil, err
	}
	return parse(data, environ, path)
}

// FromEnv makes settings from the environment alone, as a new peer starts with.
func FromEnv(environ []string) (c Config, warnings []string, err error) {
	return parse([]byte("{}"), environ, "the environment")
}

func parse(data []byte, environ []string, path string) (c Config, warnings []string, err error) {
	var bad faults
	tree := reflect.ValueOf(&c).Elem()
	decode(data, tree, meaningless, &bad, &warnings)
	fromEnv(environ, tree, &bad, &warnings)
	if len(bad) == 0 {
		if c, err = c.withDefaults(); err != nil {
			bad.addf("%v", err)
		}
		c.validate(&bad)
	}
	if err := bad.err(); err != nil {
		return c, warnings, fmt.Errorf("%s: %w", path, err)
	}
	return c, warnings, nil
}

// meaningless are settings of IPFS Cluster for parts that Pinfold does not have.
func meaningless(path string) bool {
	return slices.ContainsFunc([]string{
		"cluster.id", "cluster.private_key", "cluster.leave_on_shutdown", "cluster.enable_relay_hop", "cluster.state_sync_interval",
		"cluster.pin_recover_interval", "cluster.peer_watch_interval", "cluster.pin_only_on_trusted_peers",
		"cluster.pin_only_on_untrusted_peers", "cluster.follower_mode", "cluster.replication_factor",
		"consensus.crdt", "consensus.raft.data_folder", "consensus.raft.init_peerset", "consensus.raft.wait_for_leader_timeout",
		"consensus.raft.commit_retries", "consensus.raft.commit_retry_delay", "consensus.raft.backups_rotate",
		"consensus.raft.snapshot_interval", "consensus.raft.datastore_namespace",
		"api.restapi.libp2p_listen_multiaddress", "api.restapi.id", "api.restapi.private_key", "api.ipfsproxy", "api.pinsvcapi",
		"ipfs_connector.ipfshttp", "pin_tracker.stateless", "monitor", "allocator", "informer", "observations", "datastore",
	}, func(p string) bool { return path == p || strings.HasPrefix(path, p+".") })
}

func (c Config) validate(bad *faults) {
	if p := c.Cluster.JoinPolicy; p != JoinByToken && p != JoinBySecret {
		bad.addf("cluster.join_policy: %q is neither %s nor %s", p, JoinByToken, JoinBySecret)
	}
	if err := c.API.REST.Validate(); err != nil {
		bad.addf("api.restapi.%v", err)
	}
	lo, hi := c.Cluster.Pinner.ReplicationFactorMin, c.Cluster.Pinner.ReplicationFactorMax
	if lo < -1 || hi < -1 || (lo == -1) != (hi == -1) || (lo == 0) != (hi == 0) || lo > hi {
		bad.addf("cluster.replication_factor_min and replication_factor_max: %d and %d must both be -1, or both 1 or more with the first not above the second", lo, hi)
	}
	for _, k := range keys(reflect.ValueOf(&c).Elem(), nil) {
		if k.field.Type() == durationType && k.field.Int() < 0 {
			bad.addf("%s: must not be negative", k)
		}
	}
}

// Save writes c to dir, in settings that differ from the defaults only, readable by the
// owner only. The file must not exist: fs.ErrExist is in the error's chain then.
func (c Config) Save(dir string) error {
	defaults, err := Config{}.withDefaults()
	if err != nil {
		return err
	}
	base := map[string]any{}
	for _, k := range keys(reflect.ValueOf(&defaults).Elem(), nil) {
		base[k.String()] = k.field.Interface()
	}
	text, err := render(reflect.ValueOf(&c).Elem(), func(k key) bool {
		return !reflect.DeepEqual(k.field.Interface(), base[k.String()])
	}, func(key) bool { return false })
	if err != nil {
		return err
	}
	path := filepath.Join(dir, File)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// Exists tells whether dir holds settings.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Show gives all settings in force as JSON, without secrets and passwords.
func (c Config) Show() ([]byte, error) {
	return render(reflect.ValueOf(&c).Elem(), func(key) bool { return true }, func(k key) bool {
		name := k.path[len(k.path)-1]
		return name == "secret" || name == "basic_auth_credentials"
	})
}
