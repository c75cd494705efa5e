package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	cidV0 = "QmVn1Gtd6p8E4ksns3frUcLuzAmif2ooBRvYQh3yGZy3L5"
	peerA = "12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqaXSG"
	peerB = "12D3KooWMPrfBEZDMyNn1dVxBcMck2cmJgL3iqLS772Tm9sDaSDB"
)

// decode reads an API object as the wire has it.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func pinObject(t *testing.T) api.Pin {
	return decode[api.Pin](t, `{"replication_factor_min":1,"replication_factor_max":2,"name":"remote","mode":"recursive","shard_size":0,`+
		`"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":{"a":"b"},"pin_update":null,"origins":[],"cid":"`+cidV0+`",`+
		`"type":"pin","allocations":["`+peerB+`"],"max_depth":-1,"reference":null,"timestamp":"2026-11-20T23:44:26Z"}`)
}

// The text forms are those of ipfs-cluster-ctl 1.1.6.
func TestPrinter_TextIsTheIncumbents(t *testing.T) {
	everywhere := pinObject(t)
	everywhere.ReplicationFactorMin, everywhere.ReplicationFactorMax, everywhere.Allocations = -1, -1, nil
	everywhere.ExpireAt = time.Date(2026, 11, 21, 23, 45, 59, 0, time.UTC)
	direct := pinObject(t)
	direct.MaxDepth, direct.Mode, direct.Metadata = 0, api.PinDirect, nil
	status := decode[api.GlobalPinInfo](t, `{"cid":"`+cidV0+`","name":"remote","allocations":[],"origins":[],"created":"2026-11-20T23:44:26Z","metadata":null,"peer_map":{`+
		`"`+peerB+`":{"peername":"peer1","status":"pinning","timestamp":"2026-11-20T23:44:26.825293509Z","error":"","attempt_count":1,"priority_pin":true},`+
		`"`+peerA+`":{"peername":"peer0","status":"pin_error","timestamp":"2026-11-20T23:44:26Z","error":"no\u001b[31m luck","attempt_count":0,"priority_pin":false,"next_try":"2026-11-20T23:45:00Z"}}}`)
	peer := decode[api.Peer](t, `{"id":"`+peerA+`","addresses":["/ip4/127.0.0.1/tcp/2/p2p/`+peerA+`","/ip4/127.0.0.1/tcp/1/p2p/`+peerA+`"],`+
		`"cluster_peers":["`+peerA+`","`+peerB+`"],"ipfs":{"id":"`+peerB+`","addresses":[],"error":""},"peername":"peer0"}`)

	for _, tt := range []struct {
		name  string
		print func(*printer) error
		want  string
	}{
		{"pin", func(p *printer) error { return p.pin(pinObject(t), nil) },
			cidV0 + " | remote | PIN | Repl. Factor: 1--2 | Allocations: [" + peerB + "] | Recursive | Metadata: yes | Exp: ∞ | Added: 2026-11-20 23:44:26\n"},
		{"pin everywhere that expires", func(p *printer) error { return p.pin(everywhere, nil) },
			cidV0 + " | remote | PIN | Repl. Factor: -1 | Allocations: [everywhere] | Recursive | Metadata: yes | Exp: 2026-11-21 23:45:59 | Added: 2026-11-20 23:44:26\n"},
		{"direct pin", func(p *printer) error { return p.pin(direct, nil) },
			cidV0 + " | remote | PIN-DIRECT | Repl. Factor: 1--2 | Allocations: [" + peerB + "] | Direct | Metadata: no | Exp: ∞ | Added: 2026-11-20 23:44:26\n"},
		{"status, without what a terminal would obey", func(p *printer) error { return p.status(status) },
			cidV0 + " | remote:\n" +
				"    > peer0                : PIN_ERROR: no�[31m luck | 2026-11-20T23:44:26Z | Attempts: 0 | Priority: false | Next try: 2026-11-20T23:45:00Z\n" +
				"    > peer1                : PINNING | 2026-11-20T23:44:26.825293509Z | Attempts: 1 | Priority: true\n"},
		{"peer, addresses sorted", func(p *printer) error { return p.peer(peer, nil) },
			peerA + " | peer0 | Sees 1 other peers\n  > Addresses:\n    - /ip4/127.0.0.1/tcp/1/p2p/" + peerA + "\n    - /ip4/127.0.0.1/tcp/2/p2p/" + peerA + "\n  > IPFS: " + peerB + "\n"},
		{"peer that does not answer", func(p *printer) error { return p.peer(api.Peer{ID: peer.ID, Error: "gone"}, nil) },
			peerA + " | ERROR: gone\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := newPrinter(&out, encText)
			if err := tt.print(p); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != tt.want {
				t.Fatalf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// Who has a name of his own is shown by it alone.
func TestPrinter_StatusTellsLikeNamedPeersApart(t *testing.T) {
	const peerC = "12D3KooWHZCoaj9QvwqLdMjNoaeuKkttLtxzcgxbXfTbDRfbq4vG"
	pinned := func(name string) api.PinInfoShort { return api.PinInfoShort{PeerName: name, Status: api.StatusPinned} }
	status := decode[api.GlobalPinInfo](t, `{"cid":"`+cidV0+`"}`)
	status.PeerMap = map[string]api.PinInfoShort{peerA: pinned("volunteer"), peerB: pinned("peer1")}
	status.Followers = map[string]api.PinInfoShort{peerA: pinned("volunteer"), peerB: pinned("volunteer"), peerC: pinned("other")}
	for enc, kind := range map[encoding]string{encText: "> ", encTable: "follower "} {
		var out bytes.Buffer
		p := newPrinter(&out, enc)
		if err := errors.Join(p.status(status), p.Close()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{" volunteer  ", " peer1  ", kind + "volunteer (uqaXSG) ", kind + "volunteer (sDaSDB) ", kind + "other  "} {
			if strings.Count(out.String(), want) != 1 {
				t.Errorf("got\n%s\nwant %q in it once", out.String(), want)
			}
		}
	}
}

// Nothing but what is wrong with one goes past a terminal's edge.
func TestPrinter_FollowersFitIntoATerminal(t *testing.T) {
	found, agrees := uint8(100), true
	good := decode[api.Follower](t, `{"id":"`+peerA+`","peername":"volunteer"}`)
	good.Version, good.Index, good.Latest, good.Agrees = "0.1.0", 1_234_567, 1_234_567, &agrees
	good.Hold, good.Capacity, good.Wanted, good.Pinned, good.Bytes = "share", 100<<30, 2000, 2000, 95<<30
	good.Proven, good.Found, good.Asked = 1234, &found, time.Now().Add(-599*time.Second)
	bad := good
	bad.Name = "mirror.archive.example.org"
	bad.Stopped = strings.Repeat("two peers contradict each other ", 3)
	for _, enc := range []encoding{encText, encTable} {
		var out bytes.Buffer
		p := newPrinter(&out, enc)
		if err := errors.Join(p.follower(good), p.follower(bad), p.Close()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if before, _, _ := strings.Cut(strings.TrimRight(line, " \n"), "STOPPED"); len(before) > 100 {
				t.Errorf("%d columns: %s", len(before), line)
			}
		}
		for _, want := range []string{peerA, "volunteer", "2000", "100%", "ok\n", "STOPPED: two peers"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got\n%s\nwant %q in it", out.String(), want)
			}
		}
	}
}

func TestPrinter_JSONIsAnObjectALine(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out, encJSON)
	for range 2 {
		if err := p.pin(pinObject(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), out.String())
	}
	if got := decode[api.Pin](t, lines[1]); got.Name != "remote" {
		t.Fatalf("name %q came back", got.Name)
	}
}

func TestRun_ExitCodes(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/version":
			_, _ = w.Write([]byte(`{"version":"1"}`))
		case "/id":
			<-r.Context().Done()
		case "/pins/ipfs/" + cidV0, "/pins/" + cidV0:
			switch r.Method {
			case http.MethodGet:
				_, _ = w.Write([]byte(`{"cid":"` + cidV0 + `","peer_map":{"` + peerA + `":{"status":"pinning"}}}`))
			case http.MethodPost:
				_, _ = w.Write([]byte(`{"cid":"` + cidV0 + `","type":"pin"}`))
			default:
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(`{"code":404,"message":"pin is not part of the pinset"}`))
			}
		case "/monitor/metrics":
			_, _ = w.Write([]byte(`["ping","freespace"]`))
		case "/monitor/metrics/NOSUCH":
			_, _ = w.Write([]byte(`[]`))
		case "/allocations":
			_, _ = w.Write([]byte(`{"cid":"` + cidV0 + `","type":"pin"}` + "\n"))
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+api.StreamErrorTrailer, "no space")
			w.Header().Set(http.TrailerPrefix+api.StreamCodeTrailer, "507")
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"code":404,"message":"pin is not part of the pinset"}`))
		}
	}))
	defer srv.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	for _, tt := range []struct {
		name string
		ctx  context.Context
		args string
		code int
		out  string // somewhere in standard output
		err  string // somewhere on standard error, at its start with a NUL
	}{
		{"success", nil, "version", 0, "1\n", ""},
		{"no command", nil, "", 0, "Usage:", ""},
		{"parent without a command", nil, "pin", 0, "Usage:", ""},
		{"help by its short name", nil, "h", 0, "Usage:", ""},
		{"unknown command", nil, "frobnicate", exitUnknown, "", "No help topic for 'frobnicate'"},
		{"unknown command below completion", nil, "completion frobnicate", exitUsage, "", "frobnicate"},
		{"unknown command below another", nil, "pin frobnicate", exitUsage, "", "frobnicate"},
		{"unknown flag", nil, "version --nope", exitUsage, "", "nope"},
		{"unsupported encoding", nil, "--enc=xml version", exitUsage, "", "unsupported encoding"},
		{"bad CID", nil, "pin rm nonsense", exitUsage, "", "\x00error decoding Cid"},
		{"bad filter", nil, "status --filter=nonsense", exitUsage, "", "filter"},
		{"bad expiry", nil, "pin add --expire-in 1ms " + cidV0, exitUsage, "", "less than a second"},
		{"bad metadata", nil, "pin add --metadata x " + cidV0, exitUsage, "", "KEY=VALUE"},
		{"both forms of replication", nil, "pin add --replication 2 --replication-min 3 " + cidV0, exitUsage, "", "--replication-min"},
		{"both forms of replication, add", nil, "add --replication 2 --rmax 3 main.go", exitUsage, "", "--replication-max"},
		{"more at least than at most", nil, "pin add --rmin 3 --rmax 2 " + cidV0, exitUsage, "", "--replication-min: 3 is more than --replication-max, 2"},
		{"more at least than at most, add", nil, "add --rmin 3 --rmax 2 main.go", exitUsage, "", "--replication-max"},
		{"unknown metric", nil, "health metrics NOSUCH", exitRefused, "Code: 404\n  Message: no peer publishes a metric \"NOSUCH\" now; the names are: freespace, ping\n", ""},
		{"unknown metric, as JSON", nil, "--enc=json metrics NOSUCH", exitRefused, `{"code":404,"message":"no peer publishes`, ""},
		{"hash with version 0", nil, "add --hash sha2-512 --cid-version 0 main.go", exitUsage, "", "--cid-version"},
		{"negative timeout", nil, "--timeout -1 version", exitUsage, "", "--timeout"},
		{"absurd timeout", nil, "--timeout 99999999999999999 version", exitUsage, "", "--timeout"},
		{"no answer in time", nil, "--timeout 1 id", exitDeadline, "", "\x00error waiting for the answer: none within 1s (--timeout)\n"},
		{"not pinned in time", nil, "pin add --wait --wait-timeout 1s " + cidV0, exitDeadline, "", "\x00error waiting for " + cidV0 + " to be pinned: not within 1s (--wait-timeout)\n"},
		{"broken stream", nil, "pin ls", exitRefused, "Code: 507\n  Message: no space", ""},
		{"broken stream, as JSON", nil, "--enc=json pin ls", exitRefused, `{"code":507,"message":"no space"}`, ""},
		{"missing file", nil, "add /no/such/file", exitUsage, "", "no such file"},
		{"directory without -r", nil, "add /", exitUsage, "", "-r"},
		{"refused", nil, "pin rm " + cidV0, exitRefused, "An error occurred:\n  Code: 404\n  Message: pin is not part of the pinset\n", ""},
		{"refused, as JSON", nil, "--enc=json pin rm " + cidV0, exitRefused, `{"code":404,"message":"pin is not part of the pinset"}`, ""},
		{"interrupted", ended, "id", exitCanceled, "", "\x00error interrupted\n"},
		{"nobody listens", nil, "--host /ip4/127.0.0.1/tcp/1 version", exitUsage, "", "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			var out, errw bytes.Buffer
			args := strings.Fields(tt.args)
			if !strings.Contains(tt.args, "--host") {
				args = append([]string{"--host", srv.URL}, args...)
			}
			if code := run(ctx, args, strings.NewReader(""), &out, &errw); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(out.String(), tt.out) || !strings.Contains("\x00"+errw.String(), tt.err) {
				t.Errorf("printed\n%s\nand on standard error\n%s\nwant %q and %q in them", out.String(), errw.String(), tt.out, tt.err)
			}
		})
	}
}

func TestRun_DebugLogsRequests(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"version":"1"}`)) }))
	defer srv.Close()
	var out, errw bytes.Buffer
	if code := run(t.Context(), []string{"--host", srv.URL, "--debug", "version"}, nil, &out, &errw); code != 0 || out.String() != "1\n" {
		t.Fatalf("exit code %d, printed %s", code, out.String())
	}
	for _, want := range []string{"method=GET", "url=" + srv.URL + "/version", "status=200", "took="} {
		if !strings.Contains(errw.String(), want) {
			t.Errorf("logged\n%s\nwant %q in it", errw.String(), want)
		}
	}
	if strings.Count(errw.String(), "\n") != 1 {
		t.Errorf("logged\n%s\nwant a line", errw.String())
	}
}

// What add asks for: a hash that only version 1 of CIDs has chooses that.
func TestAdd_Parameters(t *testing.T) {
	var asked url.Values
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte(`{"name":"f","cid":"` + cidV0 + `"}`))
	}))
	defer srv.Close()
	for flags, want := range map[string][3]string{ // hash, cid-version, raw-leaves
		"":                                   {"sha2-256", "", "false"},
		"--hash SHA2-256":                    {"sha2-256", "", "false"},
		"--hash blake3":                      {"blake3", "1", "true"},
		"--hash blake3 --raw-leaves=false":   {"blake3", "1", "false"},
		"--cid-version 1":                    {"sha2-256", "1", "true"},
		"--cid-version 0 --raw-leaves":       {"sha2-256", "", "true"},
		"--hash sha2-512 --cid-version 1 -q": {"sha2-512", "1", "true"},
	} {
		args := append([]string{"--host", srv.URL, "add", "main.go"}, strings.Fields(flags)...)
		var out, errw bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errw); code != 0 {
			t.Fatalf("%s: exit code %d: %s%s", flags, code, out.String(), errw.String())
		}
		if got := [3]string{asked.Get("hash"), asked.Get("cid-version"), asked.Get("raw-leaves")}; got != want {
			t.Errorf("%s: asked for %q, want %q", flags, got, want)
		}
	}
}
