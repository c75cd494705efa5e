package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	peer1  = "/ip4/10.0.0.1/tcp/9096/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
)

// write makes a directory whose settings' file holds text.
func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, text string, environ ...string) Config {
	t.Helper()
	c, warnings, err := Load(write(t, text), environ)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Fatalf("warnings: %q", warnings)
	}
	return c
}

// value gives the setting at path in the form of the file.
func value(t *testing.T, c Config, path string) string {
	t.Helper()
	for _, k := range keys(reflect.ValueOf(&c).Elem(), nil) {
		if k.String() != path {
			continue
		}
		text, err := valueJSON(k.field)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("no setting %s", path)
	return ""
}

func TestLoad_Defaults(t *testing.T) {
	c := load(t, "{}")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"cluster.peername":                             `"` + host + `"`,
		"cluster.cluster_name":                         `"pinfold"`,
		"cluster.join_policy":                          `"token"`,
		"cluster.secret":                               `""`,
		"cluster.listen_multiaddress":                  `["/ip4/0.0.0.0/tcp/9096"]`,
		"cluster.replication_factor_min":               `-1`,
		"cluster.replication_factor_max":               `-1`,
		"cluster.disable_repinning":                    `false`,
		"cluster.repair_grace":                         `"10m0s"`,
		"cluster.pin_recover_interval":                 `"12m0s"`,
		"cluster.monitor_ping_interval":                `"15s"`,
		"cluster.resource_manager.enabled":             `true`,
		"cluster.pubsub.flood_publish":                 `true`,
		"consensus.raft.voters":                        `5`,
		"api.restapi.http_listen_multiaddress":         `["/ip4/127.0.0.1/tcp/9094"]`,
		"api.pinsvcapi.http_listen_multiaddress":       `["/ip4/127.0.0.1/tcp/9097"]`,
		"api.ipfsproxy.listen_multiaddress":            `["/ip4/127.0.0.1/tcp/9095"]`,
		"api.restapi.cors_allow_credentials":           `true`,
		"api.restapi.basic_auth_credentials":           `null`,
		"embedded.gateway_listen_multiaddress":         `"/ip4/127.0.0.1/tcp/8080"`,
		"embedded.swarm_listen_multiaddress":           `["/ip4/0.0.0.0/tcp/4001"]`,
		"embedded.storage_max":                         `0`,
		"embedded.disk_reserve":                        `536870912`,
		"ipfs_connector.ipfshttp.node_multiaddress":    `""`,
		"ipfs_connector.ipfshttp.ipfs_request_timeout": `"5m0s"`,
		"pin_tracker.stateless.concurrent_pins":        `10`,
		"monitor.pubsubmon.check_interval":             `"1s"`,
		"informer.tags.tags":                           `{"group":"default"}`,
	} {
		if got := value(t, c, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if c.PinTracker.Stateless.Sync != 12*time.Minute || c.Cluster.Monitor.Check != time.Second {
		t.Errorf("settings of other sections: sync %v, check %v", c.PinTracker.Stateless.Sync, c.Cluster.Monitor.Check)
	}
}

func TestLoad_FileOverDefaultsEnvironmentOverFile(t *testing.T) {
	for name, tt := range map[string]struct {
		file, variable, value, path  string
		fromFile, fromEnv, otherwise string
	}{
		"text":     {`{"cluster":{"peername":"f"}}`, "CLUSTER_PEERNAME", "e", "cluster.peername", `"f"`, `"e"`, ""},
		"number":   {`{"consensus":{"raft":{"voters":3}}}`, "CLUSTER_RAFT_VOTERS", "7", "consensus.raft.voters", `3`, `7`, `5`},
		"duration": {`{"cluster":{"repair_grace":"1m30s"}}`, "CLUSTER_REPAIRGRACE", "2h", "cluster.repair_grace", `"1m30s"`, `"2h0m0s"`, `"10m0s"`},
		"list": {`{"api":{"restapi":{"cors_allowed_methods":["GET","POST"]}}}`, "CLUSTER_RESTAPI_CORSALLOWEDMETHODS", "PUT, DELETE",
			"api.restapi.cors_allowed_methods", `["GET","POST"]`, `["PUT","DELETE"]`, `["GET"]`},
		"one value for a list": {`{"cluster":{"spread_by":"zone"}}`, "CLUSTER_SPREADBY", "rack", "cluster.spread_by", `["zone"]`, `["rack"]`, `["group"]`},
		"one address for a list": {`{"cluster":{"listen_multiaddress":"/ip4/1.2.3.4/tcp/1"}}`, "CLUSTER_LISTENMULTIADDRESS", "/ip4/1.2.3.4/tcp/2",
			"cluster.listen_multiaddress", `["/ip4/1.2.3.4/tcp/1"]`, `["/ip4/1.2.3.4/tcp/2"]`, `["/ip4/0.0.0.0/tcp/9096"]`},
		"map":           {`{"informer":{"tags":{"tags":{"a":"1"}}}}`, "CLUSTER_TAGS_TAGS", "b:2,c:x:y", "informer.tags.tags", `{"a":"1"}`, `{"b":"2","c":"x:y"}`, `{"group":"default"}`},
		"boolean":       {`{"embedded":{"public":true}}`, "CLUSTER_EMBEDDED_PUBLIC", "false", "embedded.public", `true`, `false`, `false`},
		"true boolean":  {`{"api":{"restapi":{"cors_allow_credentials":false}}}`, "CLUSTER_RESTAPI_CORSALLOWCREDENTIALS", "true", "api.restapi.cors_allow_credentials", `false`, `true`, `true`},
		"gateway off":   {`{"embedded":{"gateway_listen_multiaddress":"off"}}`, "CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS", "/ip4/127.0.0.1/tcp/1", "embedded.gateway_listen_multiaddress", `"off"`, `"/ip4/127.0.0.1/tcp/1"`, `"/ip4/127.0.0.1/tcp/8080"`},
		"empty list":    {`{"api":{"restapi":{"cors_allowed_origins":[]}}}`, "CLUSTER_RESTAPI_CORSALLOWEDORIGINS", "https://a", "api.restapi.cors_allowed_origins", `[]`, `["https://a"]`, `["*"]`},
		"another place": {`{"cluster":{"pin_recover_interval":"1m"}}`, "CLUSTER_PINRECOVERINTERVAL", "2m", "cluster.pin_recover_interval", `"1m0s"`, `"2m0s"`, `"12m0s"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := value(t, load(t, tt.file), tt.path); got != tt.fromFile {
				t.Errorf("file: %s, want %s", got, tt.fromFile)
			}
			if got := value(t, load(t, tt.file, tt.variable+"="+tt.value), tt.path); got != tt.fromEnv {
				t.Errorf("environment over file: %s, want %s", got, tt.fromEnv)
			}
			if got := value(t, load(t, tt.file, tt.variable+"="), tt.path); got != tt.fromFile {
				t.Errorf("empty variable over file: %s, want %s", got, tt.fromFile)
			}
			if got := value(t, load(t, "{}"), tt.path); tt.otherwise != "" && got != tt.otherwise {
				t.Errorf("neither: %s, want %s", got, tt.otherwise)
			}
		})
	}
}

func TestLoad_HandsSettingsToTheirParts(t *testing.T) {
	c := load(t, `{"cluster":{"pin_recover_interval":"90s"},"monitor":{"pubsubmon":{"check_interval":"7s"}}}`)
	if got := c.PinTracker.Stateless.Sync; got != 90*time.Second {
		t.Errorf("tracker's interval: %v", got)
	}
	if got := c.Cluster.Monitor.Check; got != 7*time.Second {
		t.Errorf("monitor's interval: %v", got)
	}
}

func TestLoad_FileNamesAreRelativeToTheDirectory(t *testing.T) {
	dir := write(t, `{"api":{"restapi":{"ssl_cert_file":"c.pem","ssl_key_file":"/k.pem"}}}`)
	c, _, err := Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.API.REST; got.SSLCertFile != filepath.Join(dir, "c.pem") || got.SSLKeyFile != "/k.pem" || got.HTTPLogFile != "" {
		t.Errorf("got %q, %q, %q", got.SSLCertFile, got.SSLKeyFile, got.HTTPLogFile)
	}
}

func TestLoad_WithoutFile(t *testing.T) {
	if _, _, err := Load(t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
}

func TestSave_WritesOnlyDifferences(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing": {nil, `{}`},
		"some": {[]string{"CLUSTER_SECRET=" + secret, "CLUSTER_REPLICATIONFACTORMIN=2", "CLUSTER_REPLICATIONFACTORMAX=3", "CLUSTER_EMBEDDED_PUBLIC=true"},
			`{"cluster":{"secret":"` + secret + `","replication_factor_min":2,"replication_factor_max":3},"embedded":{"public":true}}`},
		"what is the default anyhow":      {[]string{"CLUSTER_REPLICATIONFACTORMIN=-1", "CLUSTER_REPLICATIONFACTORMAX=-1", "CLUSTER_RAFT_VOTERS=5", "CLUSTER_RESTAPI_CORSALLOWCREDENTIALS=true"}, `{}`},
		"defaults that follow another":    {[]string{"CLUSTER_REPAIRGRACE=20s", "CLUSTER_MONITORPINGINTERVAL=2s"}, `{"cluster":{"repair_grace":"20s","monitor_ping_interval":"2s"}}`},
		"a default where another follows": {[]string{"CLUSTER_REPAIRGRACE=20s", "CLUSTER_REPAIRRECHECK=15s"}, `{"cluster":{"repair_grace":"20s","repair_recheck":"15s"}}`},
		"a boolean that is true by default": {[]string{"CLUSTER_RESTAPI_CORSALLOWCREDENTIALS=false", "CLUSTER_PUBSUB_FLOODPUBLISH=false"},
			`{"cluster":{"pubsub":{"flood_publish":false}},"api":{"restapi":{"cors_allow_credentials":false}}}`},
		"a setting that lives elsewhere": {[]string{"CLUSTER_PINRECOVERINTERVAL=1m", "CLUSTER_PUBSUBMON_CHECKINTERVAL=2s"},
			`{"cluster":{"pin_recover_interval":"1m0s"},"monitor":{"pubsubmon":{"check_interval":"2s"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := FromEnv(tt.environ)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := c.Save(dir); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, File))
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, text, []byte(tt.want)) {
				t.Errorf("wrote %s, want %s", text, tt.want)
			}
			back, _, err := Load(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, c) {
				t.Errorf("read back:\n%+v\nwant\n%+v", back, c)
			}
			if info, err := os.Stat(filepath.Join(dir, File)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if err := c.Save(dir); !errors.Is(err, fs.ErrExist) {
				t.Errorf("second save: %v, want fs.ErrExist", err)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestShow_HidesSecretsAndIsLoadable(t *testing.T) {
	c := load(t, `{"cluster":{"peername":"p","replication_factor_min":2,"replication_factor_max":3,"peer_addresses":"`+peer1+`"},
		"embedded":{"gateway_listen_multiaddress":"off"}}`, "CLUSTER_SECRET="+secret, "CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=user:pass1234")
	text, err := c.Show()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, "pass1234"} {
		if strings.Contains(string(text), s) {
			t.Errorf("%s is shown", s)
		}
	}
	_, _, err = Load(write(t, string(text)), nil)
	if err == nil {
		t.Fatal("hidden values were taken for values")
	}
	for _, path := range []string{"cluster.secret", "api.restapi.basic_auth_credentials"} {
		if !strings.Contains(err.Error(), path+": is hidden") {
			t.Errorf("%v does not say that %s is hidden", err, path)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("%d lines below the first, want 2: %v", n, err)
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(s string) bool { return strings.Contains(s, hidden) })
	again, err := load(t, strings.Join(lines, "\n"), "CLUSTER_SECRET="+secret, "CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=user:pass1234").Show()
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(text) {
		t.Errorf("shown again:\n%s\nwant\n%s", again, text)
	}
}
