//go:build clients

package clients

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// tally counts what is expected of us through one client, and what of it is met. What is
// known not to be met stands in known with the reason; a test fails where that is not so
// any more, so that the table in README.md stays true.
type tally struct {
	t        *testing.T
	known    map[string]string // by the expectation's name
	met, all int
	unmet    []string
}

func newTally(t *testing.T) *tally { return &tally{t: t} }

// expect counts one expectation: err tells how it is not met. Paths and URLs in its name
// are cut to their ends.
func (s *tally) expect(name string, err error) {
	s.t.Helper()
	s.all++
	name = paths.ReplaceAllString(name, "")
	why, known := s.known[name]
	switch {
	case err == nil && known:
		s.t.Errorf("%s: it is met, although it is known not to be, as %s", name, why)
	case err != nil && !known:
		s.t.Errorf("%s: %v", name, err)
	}
	if err == nil {
		s.met++
	} else {
		s.unmet = append(s.unmet, name)
	}
}

var paths = regexp.MustCompile(`(?:https?:/)?/\S+/`)

// report tells the score. most is how many expectations there are, so that none is lost.
func (s *tally) report(client string, most int) {
	s.t.Helper()
	s.t.Logf("%s: %d of %d; not met: %s", client, s.met, s.all, strings.Join(s.unmet, ", "))
	if s.all != most {
		s.t.Errorf("%d expectations were looked at, not %d", s.all, most)
	}
}

// has tells which of the texts are not in out.
func has(out string, want ...string) error {
	for _, w := range want {
		if !strings.Contains(out, w) {
			return fmt.Errorf("got %q, without %q", out, w)
		}
	}
	return nil
}
