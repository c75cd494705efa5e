package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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
		"diag/profile":                   "profiles are disabled here",
		"mount":                          "mounting is disabled",
		"stats/dht":                      "routing service is not a DHT",
		"config/profile/apply?arg=test":  "settings are not changed here",
		"config?arg=Addresses.API&arg=x": "settings are not changed here",
		"bootstrap/add?arg=/ip4/1.2.3.4/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF": "settings are not changed here",
		"swarm/peering/add?arg=x": "settings are not changed here",
		"routing/reprovide":       "Provide.Enabled is set to 'false'",
		"version/check":           "could not perform version check",
	} {
		a := post(t, url, ask)
		var e struct{ Message, Type string }
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != 500 || e.Type != "error" || !strings.Contains(e.Message, want) {
			t.Errorf("%s: got %d %s, want 500 and %q", ask, a.status, a.body, want)
		}
	}
}

func TestDiagnostics(t *testing.T) {
	url, _ := open(t)
	type system struct {
		Runtime struct{ Os string }
		Memory  struct{ Virt uint64 }
		Net     struct{ Online bool }
	}
	if sys := decode[system](t, post(t, url, "diag/sys")); sys.Runtime.Os == "" || sys.Memory.Virt == 0 || !sys.Net.Online {
		t.Errorf("diag/sys: got %+v", sys)
	}
	type active struct {
		Active  bool
		Command string
		Args    []string
	}
	if all := decode[[]active](t, post(t, url, "diag/cmds?arg=x")); len(all) != 1 || all[0].Command != "diag/cmds" || !all[0].Active || all[0].Args[0] != "x" {
		t.Errorf("diag/cmds: got %+v", all)
	}
	type scopes struct {
		System struct{ ConnsUsage *int }
	}
	if r := decode[scopes](t, post(t, url, "swarm/resources")); r.System.ConnsUsage == nil {
		t.Errorf("swarm/resources: got %+v", r)
	}
	if a := post(t, url, "provide/stat"); a.body != `{"Sweep":{"closed":true},"Legacy":null,"FullRT":false}`+"\n" {
		t.Errorf("provide/stat: got %s", a.body)
	}
}

// service stands for a pinning service: it pins at once, and has a page a pin.
type service struct {
	mu   sync.Mutex
	pins []map[string]any
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	id := strings.TrimPrefix(r.URL.Path, "/base/pins/")
	at := slices.IndexFunc(s.pins, func(p map[string]any) bool { return p["requestid"] == id })
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		answer(401, map[string]any{"error": map[string]any{"reason": "UNAUTHORIZED"}})
	case r.Method == "POST":
		var pin map[string]any
		if err := json.NewDecoder(r.Body).Decode(&pin); err != nil {
			answer(400, map[string]any{"error": map[string]any{"reason": "BAD_REQUEST"}})
			return
		}
		n := len(s.pins)
		p := map[string]any{"requestid": fmt.Sprint("id", n), "status": "pinned", "created": fmt.Sprintf("2026-01-01T00:00:%02dZ", n), "pin": pin, "delegates": []string{}}
		s.pins = append(s.pins, p)
		answer(202, p)
	case r.Method == "DELETE":
		s.pins = slices.Delete(s.pins, at, at+1)
		w.WriteHeader(202)
	case at >= 0:
		answer(200, s.pins[at])
	default:
		before := r.URL.Query().Get("before")
		found := slices.DeleteFunc(slices.Clone(s.pins), func(p map[string]any) bool {
			return before != "" && p["created"].(string) >= before || r.URL.Query().Get("status") != "pinned"
		})
		slices.Reverse(found)
		answer(200, map[string]any{"count": len(found), "results": found[:min(1, len(found))]})
	}
}

// The node pins at services of others, as `ipfs pin remote` of any node does.
func TestRemotePins(t *testing.T) {
	url, _ := open(t)
	s := &service{}
	remote := httptest.NewServer(s)
	t.Cleanup(remote.Close)
	post(t, url, "add?pin=false", "a.txt", "hello\n")
	for _, step := range []struct {
		ask    string
		status int
		want   string
	}{
		{"pin/remote/service/add?arg=good&arg=" + remote.URL + "/base/&arg=secret", 200, ""},
		{"pin/remote/service/add?arg=bad&arg=" + remote.URL + "/base&arg=wrong", 200, ""},
		{"pin/remote/service/add?arg=bad&arg=" + remote.URL + "/base&arg=wrong", 500, "service already present"},
		{"pin/remote/add?service=good&name=one&arg=" + hello, 200, `{"Status":"pinned","Cid":"` + hello + `","Name":"one"}`},
		{"pin/remote/add?service=good&name=two&background=true&arg=/ipfs/" + hello, 200, `"Name":"two"`},
		{"pin/remote/add?service=bad&arg=" + hello, 500, "UNAUTHORIZED"},
		{"pin/remote/ls?service=good", 200, `"Name":"two"}` + "\n" + `{"Status":"pinned","Cid":"` + hello + `","Name":"one"}`},
		{"pin/remote/ls?service=good&status=queued,failed", 200, ""},
		{"pin/remote/service/ls?stat=true", 200, `[{"Service":"bad","ApiEndpoint":"` + remote.URL + `/base","Stat":{"Status":"invalid"}},` +
			`{"Service":"good","ApiEndpoint":"` + remote.URL + `/base","Stat":{"Status":"valid","PinCount":{"Queued":0,"Pinning":0,"Pinned":2,"Failed":0}}}]`},
		{"pin/remote/rm?service=good", 500, "multiple remote pins are matching this query"},
		{"pin/remote/rm?service=good&force=true", 200, ""},
		{"pin/remote/ls?service=good", 200, ""},
	} {
		a := post(t, url, step.ask)
		if a.status != step.status || !strings.Contains(a.body, step.want) || step.want == "" && a.body != "" {
			t.Errorf("%s: got %d %s, want %d %s", step.ask, a.status, a.body, step.status, step.want)
		}
	}
}

// Settings can be read, and set to what they are; nothing else.
func TestConfig_IsReadOnly(t *testing.T) {
	url, _ := open(t)
	shown := post(t, url, "config/show").body
	for _, step := range []struct {
		ask, file string
		status    int
		want      string
	}{
		{"config?arg=Routing.Type", "", 200, `{"Key":"Routing.Type","Value":"none"}`},
		{"config?arg=Routing.Type&arg=none", "", 200, `{"Key":"Routing.Type","Value":"none"}`},
		{"config?arg=Bootstrap&arg=[]&json=true", "", 200, `{"Key":"Bootstrap","Value":[]}`},
		{"config?arg=Bootstrap&arg=[&json=true", "", 500, "settings are not changed here"},
		{"config?arg=Routing.Type&arg=dht", "", 500, "settings are not changed here"},
		{"config?arg=No.Such&arg=x", "", 500, "settings are not changed here"},
		{"config?arg=Identity.PeerID.x", "", 500, "Identity.PeerID key is not a map"},
		{"config/replace", shown, 200, ""},
		{"config/replace", `{"Bootstrap":["x"]}`, 500, "settings are not changed here"},
		{"config/replace", `{`, 500, "failed to decode file as config"},
	} {
		var files []string
		if step.file != "" {
			files = []string{"f", step.file}
		}
		if a := post(t, url, step.ask, files...); a.status != step.status || !strings.Contains(a.body, step.want) {
			t.Errorf("%s: got %d %s, want %d %s", step.ask, a.status, a.body, step.status, step.want)
		}
	}
}

// What is collected is told as it goes, and what goes wrong at the end.
func TestRepoGC(t *testing.T) {
	url, _ := open(t)
	for ask, want := range map[string]string{"repo/gc": "two: not reached", "repo/gc?stream-errors=true": "encountered errors during gc run"} {
		post(t, url, "add?pin=false&raw-leaves=true", "a.txt", "hello\n")
		a := post(t, url, ask)
		if a.status != 200 || !strings.Contains(a.body, `{"Key":{"/":"baf`) || a.trailer != want || strings.Contains(a.body, `{"Error":"two: not reached"}`) != (ask != "repo/gc") {
			t.Errorf("%s: got %d %s (trailer %q), want the trailer %q", ask, a.status, a.body, a.trailer, want)
		}
	}
	if a := post(t, url, "repo/gc?silent=true"); a.body != "" {
		t.Errorf("silent: got %s", a.body)
	}
}
