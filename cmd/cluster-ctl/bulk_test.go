package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

const bulkCid = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"

func TestBulkLines(t *testing.T) {
	var out strings.Builder
	in := bulkCid + "\n\n  " + `{"cid":"` + bulkCid + `","op":"unpin"}` + "\r\nend"
	defaults := api.BulkOp{PinOptions: api.PinOptions{Name: "n"}}
	if err := bulkLines(strings.NewReader(in), &out, defaults); err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("a line that is no CID: got %v", err)
	}
	out.Reset()
	if err := bulkLines(strings.NewReader(strings.TrimSuffix(in, "end")), &out, defaults); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || lines[0] != `{"cid":"`+bulkCid+`","name":"n"}` || lines[1] != "" || !strings.Contains(lines[2], `"op":"unpin"`) {
		t.Errorf("got %q", lines)
	}
	if err := bulkLines(strings.NewReader("\n"+strings.Repeat("a", maxBulkLine+1)), &out, defaults); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Error("a line without end is taken")
	}
}

// What a line says itself wins over the flags, also where it says nothing of weight.
func TestBulkLines_FlagsAreDefaults(t *testing.T) {
	defaults := api.BulkOp{PinOptions: api.PinOptions{Name: "flag", ReplicationFactorMin: 2, ReplicationFactorMax: 2, Metadata: map[string]string{"from": "flag"}, Mode: api.PinDirect}}
	for line, want := range map[string]api.PinOptions{
		bulkCid:                     defaults.PinOptions,
		`{"cid":"` + bulkCid + `"}`: defaults.PinOptions,
		`{"name":"own","cid":"` + bulkCid + `","replication_factor_max":3}`:    {Name: "own", ReplicationFactorMin: 2, ReplicationFactorMax: 3, Metadata: defaults.Metadata, Mode: api.PinDirect},
		`{"cid":"` + bulkCid + `","name":"","metadata":{},"mode":"recursive"}`: {ReplicationFactorMin: 2, ReplicationFactorMax: 2, Metadata: map[string]string{}},
	} {
		var out strings.Builder
		// The next line stands right behind in the scanner's buffer.
		if err := bulkLines(strings.NewReader(line+"\n"+bulkCid+"\n"), &out, defaults); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		for i, want := range []api.PinOptions{want, defaults.PinOptions} {
			var got api.BulkOp
			if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
				t.Fatalf("%s: %v", lines[i], err)
			}
			gotText, _ := json.Marshal(got.PinOptions)
			wantText, _ := json.Marshal(want)
			if got.Cid.String() != bulkCid || string(gotText) != string(wantText) {
				t.Errorf("%s: got %s, want %s", line, gotText, wantText)
			}
		}
	}
	var out strings.Builder
	if err := bulkLines(strings.NewReader("{broken\n{}\n"), &out, defaults); err != nil || !strings.HasPrefix(out.String(), "{broken\n{\"") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestCountLines(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "a": 1, "a\n": 1, "a\n\nb": 3, strings.Repeat("x\n", 300_000): 300_000} {
		if got, err := countLines(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%d bytes: got %d, %v, want %d", len(text), got, err, want)
		}
	}
}

func TestBar_Text(t *testing.T) {
	b := newBar(nil, 1_000_000, linesOf, true)
	b.add(250_000)
	if got, want := b.text(b.start.Add(10e9)), "[======                  ]  25%  250,000 lines of 1,000,000 lines  25,000 lines/s  30s left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b = newBar(nil, 0, bytesOf, true)
	b.add(3 << 20)
	if got, want := b.text(b.start.Add(1e9)), "3.0 MiB  3.0 MiB/s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
