package config

import (
	"reflect"
	"strings"
	"testing"
)

// The variables that IPFS Cluster documents and that have a meaning here.
func TestLoad_VariablesOfIPFSCluster(t *testing.T) {
	for _, tt := range []struct{ variable, value, path, want string }{
		{"CLUSTER_PEERNAME", "one", "cluster.peername", `"one"`},
		{"CLUSTER_SECRET", secret, "cluster.secret", `"` + secret + `"`},
		{"CLUSTER_LISTENMULTIADDRESS", "/ip4/0.0.0.0/tcp/1,/ip6/::/tcp/1", "cluster.listen_multiaddress", `["/ip4/0.0.0.0/tcp/1","/ip6/::/tcp/1"]`},
		{"CLUSTER_ANNOUNCEMULTIADDRESS", "/dns4/a.example/tcp/1", "cluster.announce_multiaddress", `["/dns4/a.example/tcp/1"]`},
		{"CLUSTER_NOANNOUNCEMULTIADDRESS", "/ip4/10.0.0.1/tcp/1", "cluster.no_announce_multiaddress", `["/ip4/10.0.0.1/tcp/1"]`},
		{"CLUSTER_PEERADDRESSES", peer1, "cluster.peer_addresses", `["` + peer1 + `"]`},
		{"CLUSTER_CONNECTIONMANAGER_HIGHWATER", "500", "cluster.connection_manager.high_water", `500`},
		{"CLUSTER_CONNECTIONMANAGER_LOWWATER", "50", "cluster.connection_manager.low_water", `50`},
		{"CLUSTER_CONNECTIONMANAGER_GRACEPERIOD", "1m", "cluster.connection_manager.grace_period", `"1m0s"`},
		{"CLUSTER_RESOURCEMANAGER_ENABLED", "false", "cluster.resource_manager.enabled", `false`},
		{"CLUSTER_RESOURCEMANAGER_MEMORYLIMITBYTES", "1073741824", "cluster.resource_manager.memory_limit_bytes", `1073741824`},
		{"CLUSTER_RESOURCEMANAGER_FILEDESCRIPTORSLIMIT", "512", "cluster.resource_manager.file_descriptors_limit", `512`},
		{"CLUSTER_PUBSUB_SEENMESSAGESTTL", "30m", "cluster.pubsub.seen_messages_ttl", `"30m0s"`},
		{"CLUSTER_PUBSUB_HEARTBEATINTERVAL", "10s", "cluster.pubsub.heartbeat_interval", `"10s"`},
		{"CLUSTER_PUBSUB_DFACTOR", "2", "cluster.pubsub.d_factor", `2`},
		{"CLUSTER_PUBSUB_HISTORYGOSSIP", "2", "cluster.pubsub.history_gossip", `2`},
		{"CLUSTER_PUBSUB_HISTORYLENGTH", "6", "cluster.pubsub.history_length", `6`},
		{"CLUSTER_PUBSUB_FLOODPUBLISH", "false", "cluster.pubsub.flood_publish", `false`},
		{"CLUSTER_DIALPEERTIMEOUT", "4s", "cluster.dial_peer_timeout", `"4s"`},
		{"CLUSTER_PINRECOVERINTERVAL", "1h", "cluster.pin_recover_interval", `"1h0m0s"`},
		{"CLUSTER_MONITORPINGINTERVAL", "2s", "cluster.monitor_ping_interval", `"2s"`},
		{"CLUSTER_MDNSINTERVAL", "10s", "cluster.mdns_interval", `"10s"`},
		{"CLUSTER_DISABLEREPINNING", "false", "cluster.disable_repinning", `false`},
		{"CLUSTER_RAFT_NETWORKTIMEOUT", "11s", "consensus.raft.network_timeout", `"11s"`},
		{"CLUSTER_RAFT_HEARTBEATTIMEOUT", "1s", "consensus.raft.heartbeat_timeout", `"1s"`},
		{"CLUSTER_RAFT_ELECTIONTIMEOUT", "2s", "consensus.raft.election_timeout", `"2s"`},
		{"CLUSTER_RAFT_LEADERLEASETIMEOUT", "500ms", "consensus.raft.leader_lease_timeout", `"500ms"`},
		{"CLUSTER_RAFT_COMMITTIMEOUT", "60ms", "consensus.raft.commit_timeout", `"60ms"`},
		{"CLUSTER_RAFT_MAXAPPENDENTRIES", "64", "consensus.raft.max_append_entries", `64`},
		{"CLUSTER_RAFT_TRAILINGLOGS", "100", "consensus.raft.trailing_logs", `100`},
		{"CLUSTER_RAFT_SNAPSHOTTHRESHOLD", "8192", "consensus.raft.snapshot_threshold", `8192`},
		{"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS", "/ip4/127.0.0.2/tcp/9094", "api.restapi.http_listen_multiaddress", `["/ip4/127.0.0.2/tcp/9094"]`},
		{"CLUSTER_RESTAPI_READTIMEOUT", "1m", "api.restapi.read_timeout", `"1m0s"`},
		{"CLUSTER_RESTAPI_READHEADERTIMEOUT", "6s", "api.restapi.read_header_timeout", `"6s"`},
		{"CLUSTER_RESTAPI_WRITETIMEOUT", "1m", "api.restapi.write_timeout", `"1m0s"`},
		{"CLUSTER_RESTAPI_IDLETIMEOUT", "1m", "api.restapi.idle_timeout", `"1m0s"`},
		{"CLUSTER_RESTAPI_MAXHEADERBYTES", "8192", "api.restapi.max_header_bytes", `8192`},
		{"CLUSTER_RESTAPI_BASICAUTHCREDENTIALS", "u:p,v:q:r", "api.restapi.basic_auth_credentials", `{"u":"p","v":"q:r"}`},
		{"CLUSTER_RESTAPI_HTTPLOGFILE", "/var/log/a", "api.restapi.http_log_file", `"/var/log/a"`},
		{"CLUSTER_RESTAPI_HEADERS", "X-A:b", "api.restapi.headers", `{"X-A":["b"]}`},
		{"CLUSTER_RESTAPI_CORSALLOWEDORIGINS", "https://a,https://b", "api.restapi.cors_allowed_origins", `["https://a","https://b"]`},
		{"CLUSTER_RESTAPI_CORSALLOWEDMETHODS", "GET,POST", "api.restapi.cors_allowed_methods", `["GET","POST"]`},
		{"CLUSTER_RESTAPI_CORSALLOWEDHEADERS", "X-A", "api.restapi.cors_allowed_headers", `["X-A"]`},
		{"CLUSTER_RESTAPI_CORSEXPOSEDHEADERS", "X-A", "api.restapi.cors_exposed_headers", `["X-A"]`},
		{"CLUSTER_RESTAPI_CORSALLOWCREDENTIALS", "false", "api.restapi.cors_allow_credentials", `false`},
		{"CLUSTER_RESTAPI_CORSMAXAGE", "1h", "api.restapi.cors_max_age", `"1h0m0s"`},
		{"CLUSTER_IPFSHTTP_NODEMULTIADDRESS", "/dns4/ipfs0/tcp/5001", "ipfs_connector.ipfshttp.node_multiaddress", `"/dns4/ipfs0/tcp/5001"`},
		{"CLUSTER_IPFSHTTP_IPFSREQUESTTIMEOUT", "1m", "ipfs_connector.ipfshttp.ipfs_request_timeout", `"1m0s"`},
		{"CLUSTER_IPFSHTTP_PINTIMEOUT", "1m", "ipfs_connector.ipfshttp.pin_timeout", `"1m0s"`},
		{"CLUSTER_IPFSHTTP_UNPINTIMEOUT", "1m", "ipfs_connector.ipfshttp.unpin_timeout", `"1m0s"`},
		{"CLUSTER_IPFSHTTP_REPOGCTIMEOUT", "1m", "ipfs_connector.ipfshttp.repogc_timeout", `"1m0s"`},
		{"CLUSTER_STATELESS_CONCURRENTPINS", "20", "pin_tracker.stateless.concurrent_pins", `20`},
		{"CLUSTER_PUBSUBMON_CHECKINTERVAL", "15s", "monitor.pubsubmon.check_interval", `"15s"`},
		{"CLUSTER_TAGS_TAGS", "group:eu,rack:1", "informer.tags.tags", `{"group":"eu","rack":"1"}`},
		{"CLUSTER_EMBEDDED_STORAGEMAX", "10000000000", "embedded.storage_max", `10000000000`},
		{"CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS", "off", "embedded.gateway_listen_multiaddress", `"off"`},
		{"CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS", "/ip4/0.0.0.0/tcp/4002", "embedded.swarm_listen_multiaddress", `["/ip4/0.0.0.0/tcp/4002"]`},
	} {
		t.Run(tt.variable, func(t *testing.T) {
			if got := value(t, load(t, "{}", tt.variable+"="+tt.value), tt.path); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
			}
			if got := value(t, load(t, "{}"), tt.path); got == tt.want && tt.variable != "CLUSTER_DISABLEREPINNING" {
				t.Errorf("%s is the default: the test shows nothing", got)
			}
		})
	}
	c := load(t, "{}", "CLUSTER_REPLICATIONFACTORMIN=2", "CLUSTER_REPLICATIONFACTORMAX=3")
	if lo, hi := c.Cluster.Pinner.ReplicationFactorMin, c.Cluster.Pinner.ReplicationFactorMax; lo != 2 || hi != 3 {
		t.Errorf("replication factors: %d and %d, want 2 and 3", lo, hi)
	}
	c = load(t, "{}", "CLUSTER_RESTAPI_SSLCERTFILE=/c", "CLUSTER_RESTAPI_SSLKEYFILE=/k")
	if got := c.API.REST; got.SSLCertFile != "/c" || got.SSLKeyFile != "/k" {
		t.Errorf("certificate: %q and %q", got.SSLCertFile, got.SSLKeyFile)
	}
}

// What IPFS Cluster 1.1.6 writes at init, with Raft.
const referenceFile = `{
  "cluster": {
    "peername": "one", "secret": "` + secret + `", "leave_on_shutdown": false,
    "listen_multiaddress": ["/ip4/0.0.0.0/tcp/9096", "/ip4/0.0.0.0/udp/9096/quic"],
    "announce_multiaddress": [], "no_announce_multiaddress": [], "enable_relay_hop": true,
    "connection_manager": {"high_water": 400, "low_water": 100, "grace_period": "2m0s"},
    "resource_manager": {"enabled": true, "memory_limit_bytes": 0, "file_descriptors_limit": 0},
    "pubsub": {"seen_messages_ttl": "30m0s", "heartbeat_interval": "10s", "d_factor": 4, "history_gossip": 2, "history_length": 6, "flood_publish": false},
    "dial_peer_timeout": "3s", "state_sync_interval": "5m0s", "pin_recover_interval": "12m0s",
    "replication_factor_min": -1, "replication_factor_max": -1, "monitor_ping_interval": "15s",
    "peer_watch_interval": "5s", "mdns_interval": "10s", "pin_only_on_trusted_peers": false,
    "pin_only_on_untrusted_peers": false, "disable_repinning": true, "peer_addresses": []
  },
  "consensus": {"raft": {
    "init_peerset": [], "wait_for_leader_timeout": "15s", "network_timeout": "10s", "commit_retries": 1,
    "commit_retry_delay": "200ms", "backups_rotate": 6, "heartbeat_timeout": "1s", "election_timeout": "1s",
    "commit_timeout": "50ms", "max_append_entries": 64, "trailing_logs": 10240, "snapshot_interval": "2m0s",
    "snapshot_threshold": 8192, "leader_lease_timeout": "500ms"
  }},
  "api": {
    "ipfsproxy": {"listen_multiaddress": "/ip4/127.0.0.1/tcp/9095", "max_header_bytes": 4096},
    "pinsvcapi": {"http_listen_multiaddress": "/ip4/127.0.0.1/tcp/9097"},
    "restapi": {
      "http_listen_multiaddress": "/ip4/127.0.0.1/tcp/9094", "read_timeout": "0s", "read_header_timeout": "5s",
      "write_timeout": "0s", "idle_timeout": "2m0s", "max_header_bytes": 4096, "basic_auth_credentials": null,
      "http_log_file": "", "headers": {}, "cors_allowed_origins": ["*"], "cors_allowed_methods": ["GET"],
      "cors_allowed_headers": [], "cors_exposed_headers": ["Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"],
      "cors_allow_credentials": true, "cors_max_age": "0s"
    }
  },
  "ipfs_connector": {"ipfshttp": {
    "node_multiaddress": "/ip4/127.0.0.1/tcp/5001", "connect_swarms_delay": "30s", "ipfs_request_timeout": "5m0s",
    "pin_timeout": "2m0s", "unpin_timeout": "3h0m0s", "repogc_timeout": "24h0m0s", "informer_trigger_interval": 0
  }},
  "pin_tracker": {"stateless": {"concurrent_pins": 10, "priority_pin_max_age": "24h0m0s", "priority_pin_max_retries": 5}},
  "monitor": {"pubsubmon": {"check_interval": "15s"}},
  "allocator": {"balanced": {"allocate_by": ["tag:group", "freespace"]}},
  "informer": {
    "disk": {"metric_ttl": "30s", "metric_type": "freespace"},
    "pinqueue": {"metric_ttl": "30s", "weight_bucket_size": 100000},
    "tags": {"metric_ttl": "30s", "tags": {"group": "default"}}
  },
  "observations": {"metrics": {"enable_stats": false}, "tracing": {"enable_tracing": false}},
  "datastore": {"pebble": {"pebble_options": {}}, "badger": {}, "leveldb": {}}
}`

func TestLoad_FileOfIPFSCluster(t *testing.T) {
	c, warnings, err := Load(write(t, referenceFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.IPFSConnector.Kubo.NodeMultiaddress; got != "/ip4/127.0.0.1/tcp/5001" {
		t.Errorf("node: %q", got)
	}
	all := strings.Join(warnings, "\n")
	for _, path := range []string{"cluster.disable_repinning", "cluster.leave_on_shutdown", "consensus.raft.init_peerset",
		"ipfs_connector.ipfshttp.connect_swarms_delay", "pin_tracker.stateless.priority_pin_max_age", "allocator",
		"informer.disk", "informer.tags.metric_ttl", "observations", "datastore"} {
		if !strings.Contains(all, path+" ") {
			t.Errorf("no warning of %s in\n%s", path, all)
		}
	}
	for _, path := range []string{"cluster.pubsub", "informer.tags.tags", "consensus.raft.heartbeat_timeout", "monitor.pubsubmon"} {
		if strings.Contains(all, path) {
			t.Errorf("a warning of %s, which has a meaning, in\n%s", path, all)
		}
	}
}

func TestLoad_WarnsOfWhatHasNoMeaning(t *testing.T) {
	for name, tt := range map[string]struct{ file, variable, want string }{
		"a section":                   {`{"consensus":{"crdt":{"cluster_name":"x","trusted_peers":["*"]}}}`, "", "consensus.crdt has no meaning"},
		"a datastore":                 {`{"datastore":{"badger":{"gc_interval":"15m"}}}`, "", "datastore has no meaning"},
		"a key":                       {`{"cluster":{"leave_on_shutdown":true}}`, "", "cluster-ctl peers rm"},
		"a variable":                  {`{}`, "CLUSTER_CRDT_TRUSTEDPEERS=*", "CLUSTER_CRDT_TRUSTEDPEERS means nothing"},
		"a variable with a successor": {`{}`, "CLUSTER_RAFT_INITPEERSET=a", "with a token"},
		"a misspelt variable":         {`{}`, "CLUSTER_PEERNAM=a", "did you mean CLUSTER_PEERNAME?"},
		"somebody's variable":         {`{}`, "CLUSTER_SERVICE_HOST=10.0.0.1", "CLUSTER_SERVICE_HOST means nothing"},
		"a gateway beside Kubo": {`{"ipfs_connector":{"ipfshttp":{"node_multiaddress":"/ip4/127.0.0.1/tcp/5001"}}}`,
			"CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/8080", "Kubo's own gateway"},
		"repair switched off": {`{"cluster":{"disable_repinning":true}}`, "", "not placed anew"},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings, err := Load(write(t, tt.file), []string{tt.variable})
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], tt.want) {
				t.Errorf("warnings %q, want one with %q", warnings, tt.want)
			}
		})
	}
	load(t, "{}", "CLUSTER_CREDENTIALS=u:p", "PATH=/bin", "IPFS_CLUSTER_PATH=/x") // no warning
}

func TestTree_EverySettingHasAVariableAndARule(t *testing.T) {
	seen := map[string]string{}
	var c Config
	for _, k := range keys(reflect.ValueOf(&c).Elem(), nil) {
		name := envName(k.path)
		switch {
		case name == "":
			t.Errorf("%s has no variable", k)
		case seen[name] != "":
			t.Errorf("%s and %s have the variable %s", seen[name], k, name)
		}
		seen[name] = k.String()
		if yes, _ := foreign(k.String()); yes {
			t.Errorf("%s is listed among those without meaning", k)
		}
		boolean := k.field.Kind() == reflect.Bool || k.field.Kind() == reflect.Pointer && k.field.Type().Elem().Kind() == reflect.Bool
		if !boolean && rules[k.String()] == nil {
			t.Errorf("%s has no rule", k)
		}
	}
	var f Follower
	for _, k := range keys(reflect.ValueOf(&f).Elem(), nil) {
		if rules[k.String()] == nil && k.field.Kind() != reflect.Bool && k.field.Kind() != reflect.Pointer {
			t.Errorf("%s of a follower has no rule", k)
		}
		if name := envName(k.path); name == "" || seen[name] != "" && seen[name] != k.String() {
			t.Errorf("%s of a follower has the variable %q, which is that of %s", k, name, seen[name])
		} else {
			seen[name] = k.String()
		}
	}
	for path := range rules {
		if !strings.Contains(" "+strings.Join(mapValues(seen), " ")+" ", " "+path+" ") {
			t.Errorf("the rule of %s is about no setting", path)
		}
	}
}

func mapValues(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
