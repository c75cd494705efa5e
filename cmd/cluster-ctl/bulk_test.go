package main

import (
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestBulkLines(t *testing.T) {
	const id = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"
	var out strings.Builder
	in := id + "\n\n  " + `{"cid":"` + id + `","op":"unpin"}` + "\r\nend"
	if err := bulkLines(strings.NewReader(in), &out, api.PinOptions{Name: "n"}); err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("a line that is no CID: got %v", err)
	}
	out.Reset()
	if err := bulkLines(strings.NewReader(strings.TrimSuffix(in, "end")), &out, api.PinOptions{Name: "n"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `"name":"n"`) || lines[1] != "" || !strings.HasSuffix(lines[2], `"op":"unpin"}`) {
		t.Errorf("got %q", lines)
	}
	if err := bulkLines(strings.NewReader(strings.Repeat("a", maxBulkLine+1)), &out, api.PinOptions{}); err == nil {
		t.Error("a line without end is taken")
	}
}
