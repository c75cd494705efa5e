package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// decode reads a line of JSON.
func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.NewDecoder(strings.NewReader(a.body)).Decode(&v); err != nil || a.status != 200 {
		t.Fatalf("got %d %q, %v", a.status, a.body, err)
	}
	return v
}

// A record that one node has signed can be read, checked, and kept by another, which
// resolves it then; an older one or one of another name is not kept.
func TestNames_RecordsTravel(t *testing.T) {
	from, _ := open(t)
	to, _ := open(t)
	post(t, from, "add?pin=false", "a.txt", "hello\n")
	name := decode[struct{ Name, Value string }](t, post(t, from, "name/publish?arg=/ipfs/"+hello)).Name
	first := post(t, from, "name/get?arg="+name)
	if first.status != 200 || first.header.Get("Content-Type") != "application/vnd.ipfs.ipns-record" {
		t.Fatalf("name/get: got %d, %v", first.status, first.header)
	}
	post(t, from, "name/publish?resolve=false&arg=/ipfs/"+none)
	second := post(t, from, "routing/get?arg=/ipns/"+name)
	event := decode[struct {
		Type  int
		Extra string
	}](t, second)
	raw, err := base64.StdEncoding.DecodeString(event.Extra)
	if err != nil || event.Type != 5 {
		t.Fatalf("routing/get: got %s", second.body)
	}

	type inspected struct {
		Entry         struct{ Value string }
		SignatureType string
		HexDump       string
		Validation    struct {
			Valid        bool
			Reason, Name string
		}
	}
	got := decode[inspected](t, post(t, to, "name/inspect?verify="+name, "r", first.body))
	if got.Entry.Value != "/ipfs/"+hello || !got.Validation.Valid || got.Validation.Name != name || got.SignatureType != "V1+V2" || got.HexDump == "" {
		t.Errorf("name/inspect: got %+v", got)
	}
	if got := decode[inspected](t, post(t, to, "name/inspect?dump=false&verify="+pemName, "r", first.body)); got.Validation.Valid || got.Validation.Reason == "" || got.HexDump != "" {
		t.Errorf("name/inspect of another's: got %+v", got)
	}

	if a := post(t, to, "name/resolve?arg="+name); a.status != 500 {
		t.Fatalf("it is known there before: %s", a.body)
	}
	if a := post(t, to, "name/put?arg="+pemName, "r", first.body); a.status != 500 || !strings.Contains(a.body, "record validation failed") {
		t.Errorf("under another name: got %d %s", a.status, a.body)
	}
	if a := post(t, to, "name/put?arg="+name, "r", first.body); a.body != fmt.Sprintf(`{"Name":%q,"Value":"/ipfs/%s"}`+"\n", name, hello) {
		t.Errorf("name/put: got %s", a.body)
	}
	if a := post(t, to, "routing/put?arg=/ipns/"+name, "r", string(raw)); a.status != 200 || !strings.Contains(a.body, `"Type":5`) {
		t.Errorf("routing/put: got %d %s", a.status, a.body)
	}
	if a := post(t, to, "name/put?arg="+name, "r", first.body); a.status != 500 || !strings.Contains(a.body, "existing IPNS record has sequence") {
		t.Errorf("an older one: got %d %s", a.status, a.body)
	}
	if a := post(t, to, "name/put?arg="+name, "r", string(raw)); a.status != 200 {
		t.Errorf("the same again: got %d %s", a.status, a.body)
	}
	if a := post(t, to, "name/resolve?arg="+name); a.body != `{"Path":"/ipfs/`+none+`"}`+"\n" {
		t.Errorf("name/resolve: got %s", a.body)
	}
}

// What routing says is what the cluster knows.
func TestRouting(t *testing.T) {
	url, _ := open(t)
	other, _ := open(t)
	id := decode[struct{ ID string }](t, post(t, url, "id")).ID
	there := decode[struct {
		ID        string
		Addresses []string
	}](t, post(t, other, "id"))
	post(t, url, "add?pin=false", "a.txt", "hello\n")
	if a := post(t, url, "routing/findprovs?arg="+hello); !strings.Contains(a.body, `"Type":4`) || !strings.Contains(a.body, id) || a.status != 200 {
		t.Errorf("findprovs: got %d %s", a.status, a.body)
	}
	if a := post(t, url, "routing/findprovs?arg="+none); a.status != 200 || a.body != "" {
		t.Errorf("findprovs of what nobody has: got %d %q", a.status, a.body)
	}
	for _, command := range []string{"routing/provide", "provide/once"} {
		if a := post(t, url, command+"?arg="+hello); a.status != 200 {
			t.Errorf("%s: got %d %s", command, a.status, a.body)
		}
		if a := post(t, url, command+"?arg="+none); a.status != 500 || !strings.Contains(a.body, "not found locally, cannot provide") {
			t.Errorf("%s of nothing: got %d %s", command, a.status, a.body)
		}
	}
	if a := post(t, url, "routing/findpeer?arg="+there.ID); a.status != 500 {
		t.Errorf("a peer that is not known: got %d %s", a.status, a.body)
	}
	if a := post(t, url, "swarm/connect?arg="+there.Addresses[0]); a.status != 200 {
		t.Fatal(a.body)
	}
	if a := post(t, url, "routing/findpeer?arg="+there.ID); a.status != 200 || !strings.Contains(a.body, `"Type":2`) || !strings.Contains(a.body, "/ip4/127.0.0.1") {
		t.Errorf("findpeer: got %d %s", a.status, a.body)
	}
	if a := post(t, url, "routing/findpeer?arg="+id); a.status != 500 {
		t.Errorf("findpeer of itself: got %d %s", a.status, a.body)
	}
	if a := post(t, url, "bitswap/ledger?arg="+there.ID); !strings.HasPrefix(a.body, `{"Peer":"`+there.ID) {
		t.Errorf("ledger: got %d %s", a.status, a.body)
	}
}

func TestLogs(t *testing.T) {
	url, _ := open(t)
	for _, step := range []struct{ ask, want string }{
		{"log/ls", `{"Strings":["one"]}`},
		{"log/level", `{"Levels":{"":"info"}}`},
		{"log/level?arg=all", `{"Levels":{"(default)":"info","one":"info"}}`},
		{"log/level?arg=one&arg=debug", `{"Message":"Changed log level of 'one' to 'debug'\n"}`},
		{"log/level?arg=one", `{"Levels":{"one":"debug"}}`},
		{"log/level?arg=*&arg=warn", `{"Message":"Changed log level of '*' to 'warn'\n"}`},
		{"log/level?arg=one&arg=default", `{"Message":"Changed log level of 'one' to 'warn'\n"}`},
		{"log/level?arg=none&arg=debug", `{"Message":"error: No such logger","Code":0,"Type":"error"}`},
		{"log/tail?log-level=error", `{"level":"ERROR"}`},
	} {
		if a := post(t, url, step.ask); a.body != step.want+"\n" {
			t.Errorf("%s: got %d %s, want %s", step.ask, a.status, a.body, step.want)
		}
	}
}

// What changes the node, or tells a stranger too much of it, is disabled, and says so.
func TestDisabled(t *testing.T) {
	url, _ := open(t)
	for ask, want := range map[string]string{
		"shutdown":                       "shutdown is disabled here",
		"diag/sys":                       "diagnostics are disabled here",
		"diag/cmds":                      "diagnostics are disabled here",
		"mount":                          "mounting is disabled",
		"stats/dht":                      "routing service is not a DHT",
		"config/profile/apply?arg=test":  "settings are not changed here",
		"config?arg=Addresses.API&arg=x": "settings are not changed here",
		"bootstrap/add?arg=/ip4/1.2.3.4/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF": "settings are not changed here",
		"pin/remote/service/add?arg=a&arg=http://127.0.0.1&arg=k":                                       "settings are not changed here",
		"swarm/peering/add?arg=x":          "settings are not changed here",
		"provide/stat":                     "stats not available with current routing system",
		"routing/reprovide":                "Provide.Enabled is set to 'false'",
		"swarm/resources":                  "missing ResourceMgr",
		"version/check":                    "could not perform version check",
		"object/patch/rm-link?arg=a&arg=b": "removed, use 'ipfs dag'",
	} {
		a := post(t, url, ask)
		var e struct{ Message, Type string }
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != 500 || e.Type != "error" || !strings.Contains(e.Message, want) {
			t.Errorf("%s: got %d %s, want 500 and %q", ask, a.status, a.body, want)
		}
	}
}
