package adder

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A peer that is down is one warning, not one for each add.
func TestAdd_WarnsOnceOfAPeerThatIsDown(t *testing.T) {
	c := newCluster(t, 2, 1)
	var logged bytes.Buffer
	a := New(c.ids[0], c, c, Options{}, slog.New(slog.NewTextHandler(&logged, nil)))
	add := func() {
		t.Helper()
		if _, err := a.Add(t.Context(), dirOf(text("f", "x")), api.DefaultAddParams(), func(api.AddedOutput) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(warnings, recoveries int) {
		t.Helper()
		if w, r := strings.Count(logged.String(), "level=WARN"), strings.Count(logged.String(), "level=INFO"); w != warnings || r != recoveries {
			t.Fatalf("%d warnings and %d recoveries, want %d and %d, logged\n%s", w, r, warnings, recoveries, logged.String())
		}
	}
	down := c.peers[c.ids[1]]
	down.refuse = errors.New("connection refused")
	for range 3 {
		add()
	}
	expect(1, 0)
	// It is there again, but loses what it was given.
	down.refuse, down.failCommit = nil, errors.New("disk gone")
	add()
	expect(1, 0)
	down.failCommit = nil
	add()
	add()
	expect(1, 1)
	down.refuse = errors.New("connection refused")
	add()
	expect(2, 1)
	// The add's own fault, and none of the peer's.
	down.refuse = nil
	add()
	down.refuse = api.Invalid.Errorf("no such root")
	add()
	expect(2, 2)
}
