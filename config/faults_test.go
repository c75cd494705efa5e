package config

import (
	"strings"
	"testing"
)

func TestLoad_Faults(t *testing.T) {
	for name, tt := range map[string]struct {
		file    string
		environ []string
		want    string // the whole error after the file's name
	}{
		"unknown key":             {`{"cluster":{"replication_faktor_min":2}}`, nil, `unknown key cluster.replication_faktor_min; did you mean cluster.replication_factor_min?`},
		"unknown key in a part":   {`{"pin_tracker":{"stateless":{"concurent_pins":2}}}`, nil, `unknown key pin_tracker.stateless.concurent_pins; did you mean pin_tracker.stateless.concurrent_pins?`},
		"misplaced key":           {`{"peername":"x"}`, nil, `unknown key peername; did you mean cluster.peername?`},
		"case matters":            {`{"cluster":{"PeerName":"x"}}`, nil, `unknown key cluster.PeerName; did you mean cluster.peername?`},
		"fetched configuration":   {`{"source":"http://127.0.0.1/x"}`, nil, `source: settings cannot be fetched from a URL; write them into this file`},
		"a key twice":             {`{"cluster":{"peername":"a","peername":"b"}}`, nil, `cluster.peername: is there twice`},
		"a section twice":         {`{"cluster":{},"cluster":{}}`, nil, `cluster: is there twice`},
		"a name in a map twice":   {`{"informer":{"tags":{"tags":{"a":"1","a":"2"}}}}`, nil, `informer.tags.tags: "a" is there twice`},
		"trailing garbage":        {"{}\n}", nil, `line 2: not JSON: invalid character '}' after top-level value`},
		"cut off":                 {"{\n\"cluster\":{", nil, `line 2: not JSON: unexpected end of JSON input`},
		"empty":                   {"", nil, `line 1: not JSON: unexpected end of JSON input`},
		"no object":               {"[]", nil, `must be an object of sections`},
		"no section":              {`{"cluster":3}`, nil, `cluster: must be an object of settings`},
		"text for a number":       {`{"consensus":{"raft":{"voters":"five"}}}`, nil, `consensus.raft.voters: must be a whole number, not string`},
		"fraction":                {`{"consensus":{"raft":{"voters":2.5}}}`, nil, `consensus.raft.voters: must be a whole number, not number 2.5`},
		"negative size":           {`{"embedded":{"storage_max":-1}}`, nil, `embedded.storage_max: must be a size such as "50GiB" or "200GB", or a whole number of bytes, not number -1`},
		"number for a duration":   {`{"cluster":{"repair_grace":30}}`, nil, `cluster.repair_grace: must be a duration such as "30s" or "5m"`},
		"duration without a unit": {`{"cluster":{"repair_grace":"30"}}`, nil, `cluster.repair_grace: "30" is not a duration such as 30s or 5m`},
		"text for a boolean":      {`{"embedded":{"public":"yes"}}`, nil, `embedded.public: must be true or false, not string`},
		"number in a list":        {`{"cluster":{"spread_by":["a",1]}}`, nil, `cluster.spread_by: must be a list, each a string, not number`},
		"list for a map":          {`{"informer":{"tags":{"tags":["a"]}}}`, nil, `informer.tags.tags: must be an object`},
		"number in a map":         {`{"informer":{"tags":{"tags":{"a":1}}}}`, nil, `informer.tags.tags: must be an object, each value a string, not number`},
		"short secret":            {`{"cluster":{"secret":"abcd"}}`, nil, `cluster.secret: the secret must be 64 hexadecimal digits`},

		"negative duration":    {`{"cluster":{"repair_grace":"-5s"}}`, nil, `cluster.repair_grace: -5s must not be negative`},
		"absurd duration":      {`{"consensus":{"raft":{"heartbeat_timeout":"1ns"}}}`, nil, `consensus.raft.heartbeat_timeout: 1ns is not between 5ms and 1h0m0s`},
		"negative number":      {`{"pin_tracker":{"stateless":{"concurrent_pins":-3}}}`, nil, `pin_tracker.stateless.concurrent_pins: -3 is not between 1 and 100000`},
		"storage of 10 bytes":  {`{"embedded":{"storage_max":10}}`, nil, `embedded.storage_max: 10 is not between 1048576 and 1152921504606846976`},
		"policy":               {`{"cluster":{"join_policy":"open"}}`, nil, `cluster.join_policy: "open" is not one of token, secret`},
		"min above max":        {`{"cluster":{"replication_factor_min":3,"replication_factor_max":2}}`, nil, `cluster.replication_factor_min, cluster.replication_factor_max: 3 and 2 must both be -1, or both 1 or more with the first not above the second`},
		"min alone":            {`{"cluster":{"replication_factor_min":2}}`, nil, `cluster.replication_factor_min, cluster.replication_factor_max: 2 and 0 must`},
		"everywhere and some":  {`{"cluster":{"replication_factor_min":-1,"replication_factor_max":2}}`, nil, `cluster.replication_factor_min, cluster.replication_factor_max: -1 and 2 must`},
		"factor under -1":      {`{"cluster":{"replication_factor_min":-2,"replication_factor_max":-2}}`, nil, "2 faults:\n  cluster.replication_factor_min: -2 is not between -1 and 10000\n  cluster.replication_factor_max: -2 is not"},
		"water marks":          {`{"cluster":{"connection_manager":{"low_water":500}}}`, nil, `cluster.connection_manager.low_water, cluster.connection_manager.high_water: 500 and 400: the first must not be above the second`},
		"lease over heartbeat": {`{"consensus":{"raft":{"heartbeat_timeout":"1s","leader_lease_timeout":"1.2s"}}}`, nil, `consensus.raft.leader_lease_timeout, consensus.raft.heartbeat_timeout: 1.2s and 1s: the first`},
		"no TCP":               {`{"cluster":{"listen_multiaddress":"/ip4/0.0.0.0/udp/9096/quic-v1"}}`, nil, `cluster.listen_multiaddress: holds no TCP address`},
		"no address":           {`{"cluster":{"listen_multiaddress":"0.0.0.0:9096"}}`, nil, `cluster.listen_multiaddress: `},
		"port":                 {`{"embedded":{"gateway_listen_multiaddress":"/ip4/127.0.0.1/tcp/80800"}}`, nil, `embedded.gateway_listen_multiaddress: "/ip4/127.0.0.1/tcp/80800" is not an address`},
		"gateway on UDP":       {`{"embedded":{"gateway_listen_multiaddress":"/ip4/127.0.0.1/udp/80"}}`, nil, `embedded.gateway_listen_multiaddress: "/ip4/127.0.0.1/udp/80" is not a TCP address`},
		"gateway's host":       {`{"embedded":{"gateway_hosts":["127.0.0.1"]}}`, nil, `embedded.gateway_hosts: "127.0.0.1" is not a host name in lower case`},
		"peer without its ID":  {`{"cluster":{"peer_addresses":["/ip4/10.0.0.1/tcp/9096"]}}`, nil, `cluster.peer_addresses: "/ip4/10.0.0.1/tcp/9096" does not end in /p2p and a peer's ID`},
		"name with a newline":  {`{"cluster":{"peername":"a\nb"}}`, nil, `cluster.peername: "a\nb" must be printable`},
		"certificate alone":    {`{"api":{"restapi":{"ssl_cert_file":"a"}}}`, nil, `api.restapi.ssl_cert_file: is without ssl_key_file; give both or neither`},
		"API on UDP":           {`{"api":{"restapi":{"http_listen_multiaddress":"/ip4/127.0.0.1/udp/80"}}}`, nil, `api.restapi.http_listen_multiaddress: "/ip4/127.0.0.1/udp/80": want tcp or unix`},
		"empty password":       {`{"api":{"restapi":{"basic_auth_credentials":{"u":""}}}}`, nil, `api.restapi.basic_auth_credentials: a user and a password must not be empty`},

		"variable":                   {`{}`, []string{"CLUSTER_RAFT_VOTERS=five"}, `CLUSTER_RAFT_VOTERS (consensus.raft.voters): "five" is not a whole number`},
		"variable's range":           {`{}`, []string{"CLUSTER_RAFT_VOTERS=-5"}, `CLUSTER_RAFT_VOTERS (consensus.raft.voters): -5 is not between 1 and 99`},
		"variable's boolean":         {`{}`, []string{"CLUSTER_EMBEDDED_PUBLIC=maybe"}, `CLUSTER_EMBEDDED_PUBLIC (embedded.public): "maybe" is neither true nor false`},
		"variable's address":         {`{}`, []string{"CLUSTER_PEERADDRESSES=" + peer1 + ",x"}, `CLUSTER_PEERADDRESSES (cluster.peer_addresses): `},
		"password without its user":  {`{}`, []string{"CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=pass1234"}, `CLUSTER_RESTAPI_BASICAUTHCREDENTIALS (api.restapi.basic_auth_credentials): must be key:value pairs with commas between them, and number 1 is none`},
		"password that is no string": {`{"api":{"restapi":{"basic_auth_credentials":{"u":["pass1234"]}}}}`, nil, `api.restapi.basic_auth_credentials: must be an object, each value a string, not array`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, tt.file)
			_, _, err := Load(dir, tt.environ)
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); !strings.HasPrefix(got, dir+"/service.json: "+tt.want) {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if strings.Contains(err.Error(), "pass1234") {
				t.Errorf("%q tells a password", err)
			}
		})
	}
}

func TestLoad_ReportsAllFaultsAtOnce(t *testing.T) {
	_, _, err := Load(write(t, `{
		"cluster": {"peername": 1, "nope": 1, "repair_grace": "-1s", "replication_factor_min": 4, "replication_factor_max": 2},
		"api": {"restapi": {"ssl_key_file": "k", "max_header_bytes": 1, "http_listen_multiaddress": ["/x", "/ip4/1.2.3.4/udp/1"]}},
		"embedded": 7
	}`), []string{"CLUSTER_RAFT_VOTERS=x", "CLUSTER_RAFT_LOGBYTES=-1"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"10 faults", "cluster.peername: ", "unknown key cluster.nope", "cluster.repair_grace: ", "cluster.replication_factor_max: 4 and 2",
		"embedded: ", "CLUSTER_RAFT_VOTERS", "CLUSTER_RAFT_LOGBYTES", "api.restapi.max_header_bytes: ", "ssl_key_file: ",
		`http_listen_multiaddress: "/x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}
