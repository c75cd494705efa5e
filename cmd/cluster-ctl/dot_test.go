package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A graph of two peers that answer and one, P3, that does not. N9 is a node outside.
const graphAnswer = `{"cluster_id":"P1","id_to_peername":{"P0":"zero \" \\","P1":"one"},"ipfs_links":{"N0":["N9","N1"],"N1":["N0"]},` +
	`"cluster_links":{"P0":["P1"],"P1":["P0","P3"],"P3":[]},"cluster_trust_links":{"P0":true,"P1":true},"cluster_to_ipfs":{"P0":"N0","P1":"N1"}}`

func TestHealth_GraphAndBandwidth(t *testing.T) {
	var pairs []string // short names for short IDs
	for _, name := range []string{"P0", "P1", "P3", "N0", "N1", "N9"} {
		pairs = append(pairs, name, api.PeerID("\x00\x02"+name).String()) // an identity multihash
	}
	ids := strings.NewReplacer(pairs...)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health/graph":
			_, _ = w.Write([]byte(ids.Replace(graphAnswer)))
		case "/health/bandwidth":
			_, _ = w.Write([]byte(`{"/b":{"total_in":2000,"total_out":1,"rate_in":0.5,"rate_out":0},"":{"total_in":1,"total_out":2,"rate_in":0,"rate_out":0}}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "graph")
	const (
		peers = "\tC0 [label=\"one\\nP1\", color=orange, peripheries=2]\n" + "\tT1 [label=\"zero \\\" \\\\\\nP0\", color=orange]\n" + "\tU2 [label=\"P3\", color=orange]\n"
		nodes = "\tI0 [label=\"N0\", color=turquoise]\n\tI1 [label=\"N1\", color=turquoise]\n"
		edges = "\tT1 -> C0\n\tC0 -> T1\n\tC0 -> U2\n\tI0 -> I1\n"
		rest  = "\tI1 -> I0\n\tT1 -> I0\n\tC0 -> I1\n}\n"
		plain = "digraph cluster {\n" + peers + nodes + edges + rest
		all   = "digraph cluster {\n" + peers + nodes + "\tI2 [label=\"N9\", color=turquoise]\n" + edges + "\tI0 -> I2\n" + rest
	)
	for args, want := range map[string]string{
		"health graph":                  plain,
		"--enc=json health graph":       plain,
		"health graph --all-ipfs-peers": all,
		"health graph -f " + file:       "",
		"health bandwidth": "                         : In:     1 B. Out:     2 B. RateIn: 0.00B/s. RateOut: 0.00B/s\n" +
			"                       /b: In:  2.0 kB. Out:     1 B. RateIn: 0.50B/s. RateOut: 0.00B/s\n",
		"--enc=table health bandwidth": "PROTOCOL  IN      OUT  RATE IN  RATE OUT\n          1 B     2 B  0.00B/s  0.00B/s\n/b        2.0 kB  1 B  0.50B/s  0.00B/s\n",
		"--enc=json health bandwidth":  `{"":{"total_in":1,"total_out":2,"rate_in":0,"rate_out":0},"/b":{"total_in":2000,"total_out":1,"rate_in":0.5,"rate_out":0}}` + "\n",
	} {
		want = ids.Replace(want)
		var out, errw bytes.Buffer
		if code := run(t.Context(), append([]string{"--host", srv.URL}, strings.Fields(args)...), nil, &out, &errw); code != 0 || out.String() != want {
			t.Errorf("%s: exit code %d, printed\n%s%swant\n%s", args, code, out.String(), errw.String(), want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != ids.Replace(plain) {
		t.Errorf("the file holds %q %v", got, err)
	}
}
