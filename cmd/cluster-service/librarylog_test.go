package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// sharedBuffer may be written to by libraries for as long as the process runs.
type sharedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *sharedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// What libraries log has the form of all lines, and is no error of the peer.
func TestLibraryLogs_HaveOneForm(t *testing.T) {
	var out sharedBuffer
	libraryLogs(newLogger(&out, slog.LevelError, nil))
	t.Cleanup(func() { libraryLogs(quiet) })
	zap := golog.Logger("test/boxo")
	zap.Infow("of no interest")
	zap.With("cid", "Qm").Errorw("fetching", "err", errors.New("no \"peer\""), "n", 3)
	libp2p := gologshim.Logger("test/libp2p")
	libp2p.Warn("of no interest")
	libp2p.With("peer", "12D3").Error("dialing", "n", 4)
	for _, want := range []string{
		`level=WARN msg=fetching component=libraries cid=Qm logger=test/boxo err="no \"peer\"" n=3` + "\n",
		`level=WARN msg=dialing component=libraries logger=test/libp2p peer=12D3 n=4` + "\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwithout %s", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "of no interest") {
		t.Errorf("got\n%s\nwith what is no error", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of another form: %s", line)
		}
	}
}
