package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFollower_SavesDifferencesAndReadsThem(t *testing.T) {
	f, warnings, err := FollowerFromEnv([]string{"CLUSTER_PEERNAME=volunteer", "CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/4444",
		"CLUSTER_FOLLOW_CAPACITY=1073741824", "CLUSTER_EMBEDDED_MAXBANDWIDTH=1048576", "CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/5555"})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	f.Follow.Source = "https://example.org/follow.json"
	dir := t.TempDir()
	if err := f.Save(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, FollowerFile))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"follow":{"source":"https://example.org/follow.json","capacity":1073741824},
		"cluster":{"peername":"volunteer","listen_multiaddress":["/ip4/127.0.0.1/tcp/4444"]},
		"api":{"restapi":{"http_listen_multiaddress":["/ip4/127.0.0.1/tcp/5555"]}},"embedded":{"max_bandwidth":1048576}}`
	if !sameJSON(t, text, []byte(want)) {
		t.Errorf("wrote %s, want %s", text, want)
	}
	back, warnings, err := LoadFollower(dir, nil)
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(back, f) {
		t.Errorf("read back:\n%+v %v %v\nwant\n%+v", back, warnings, err, f)
	}
	for limits, want := range map[string]uint64{
		`{"follow":{"capacity":"1GiB"}}`:                                     1 << 30,
		`{"follow":{"capacity":"1GiB"},"embedded":{"storage_max":"2GiB"}}`:   1 << 30,
		`{"follow":{"capacity":"1GiB"},"embedded":{"storage_max":"512MiB"}}`: 1 << 29,
		`{"embedded":{"storage_max":"2GiB"}}`:                                2 << 30,
		`{}`:                                                                 0,
	} {
		f, _, err := parseFollower([]byte(limits), nil)
		if got := f.Embedded.Node.StorageMax; err != nil || got != want {
			t.Errorf("%s: the node may take %d bytes, %v; want %d", limits, got, err, want)
		}
	}
	if there, err := FollowerExists(dir); !there || err != nil {
		t.Errorf("exists: %v, %v", there, err)
	}
}

func TestFollower_Faults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a share of what size?", `{"follow":{"hold":"share"}}`, "follow.capacity"},
		{"an unknown way to hold", `{"follow":{"hold":"most"}}`, "is not one of all, allocated, share"},
		{"no URL", `{"follow":{"source":"ftp://x/y"}}`, "follow.source"},
		{"a setting of peers only", `{"cluster":{"replication_factor_min":2}}`, "cluster.replication_factor_min"},
		{"a wrong address", `{"api":{"restapi":{"http_listen_multiaddress":["nowhere"]}}}`, "api.restapi.http_listen_multiaddress"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FollowerFile), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadFollower(dir, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error about %s", tt.name, err, tt.want)
		}
	}
}

// A door that others reach, and that asks for nothing, is warned of: at a follower and at a
// full peer.
func TestDoors_OpenToAllAreWarnedOf(t *testing.T) {
	for section, tree := range map[string]func(file []byte) ([]string, error){
		"restapi":       func(file []byte) ([]string, error) { _, w, err := parseFollower(file, nil); return w, err },
		"api.restapi":   func(file []byte) ([]string, error) { _, w, err := parse(file, nil); return w, err },
		"api.pinsvcapi": func(file []byte) ([]string, error) { _, w, err := parse(file, nil); return w, err },
	} {
		for settings, want := range map[string]string{
			`"http_listen_multiaddress":"/ip4/0.0.0.0/tcp/9994"`:                                       "/ip4/0.0.0.0/tcp/9994",
			`"http_listen_multiaddress":["/ip4/127.0.0.1/tcp/9994","/ip6/::/tcp/9994"]`:                "/ip6/::/tcp/9994",
			`"http_listen_multiaddress":"/ip4/0.0.0.0/tcp/9994","basic_auth_credentials":{"u":"p"}`:    "",
			`"http_listen_multiaddress":["/ip4/127.0.0.2/tcp/9994","/ip6/::1/tcp/9994","/unix/tmp/x"]`: "",
			`"read_timeout":"1s"`: "",
		} {
			name := section[strings.LastIndexByte(section, '.')+1:]
			warnings, err := tree([]byte(`{"api":{"` + name + `":{` + settings + `}}}`))
			switch {
			case err != nil:
				t.Errorf("%s %s: %v", section, settings, err)
			case want == "" && len(warnings) > 0:
				t.Errorf("%s %s: warned of %q", section, settings, warnings)
			case want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], want) || !strings.Contains(warnings[0], "api."+name+".basic_auth_credentials")):
				t.Errorf("%s %s: warned of %q, want of %s", section, settings, warnings, want)
			}
		}
	}
}
