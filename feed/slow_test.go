package feed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// oneGuest is a network with a guest.
type oneGuest struct{ Network }

const theGuest = api.PeerID("guest")

func (oneGuest) Guests() []api.PeerID                    { return []api.PeerID{theGuest} }
func (oneGuest) Address(api.PeerID) string               { return "one machine" }
func (oneGuest) Check(context.Context, api.PeerID) error { return api.Denied.Errorf("no member") }

// endless answers with as many frames as it is let.
type endless struct{ source }

func (endless) since(_ context.Context, _ uint64, _ [32]byte, send func([]byte) error) error {
	for frame := make([]byte, maxFrame); ; {
		if err := send(frame); err != nil {
			return ignoreEnough(err)
		}
	}
}

// guestAsks has a guest ask for all there is, and read it; it gives the bytes that came,
// how long the answer took, and what it ended with.
func guestAsks(t *testing.T, bandwidth uint64, read func(io.Reader) int64) (n int64, took time.Duration, err error) {
	s := newStreams(oneGuest{}, endless{}, bandwidth, feedLog())
	server, guest := net.Pipe()
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		err := s.answer(t.Context(), theGuest, server)
		took = time.Since(began)
		done <- errors.Join(err, server.Close())
	}()
	check(t, writeRequest(guest, request{Op: opSince, Digest: make([]byte, 32)}))
	n = read(guest)
	err = errors.Join(<-done, guest.Close())
	return n, took, err
}

// Who asks for much and takes nothing, or ever less of it, loses its stream.
func TestStreams_SlowReaderLosesItsStream(t *testing.T) {
	for name, tt := range map[string]struct {
		wait time.Duration // before each kilobyte
		most time.Duration // of the answer
	}{
		"reads nothing":       {time.Hour, 15 * time.Second},
		"a kilobyte a second": {time.Second, 15 * time.Second},
		"a frame in 8 s":      {8 * time.Second / (maxFrame >> 10), 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, took, err := guestAsks(t, 0, func(r io.Reader) (n int64) {
					for b := make([]byte, 1<<10); ; {
						time.Sleep(tt.wait)
						m, err := r.Read(b)
						if n += int64(m); err != nil {
							return n
						}
					}
				})
				if !errors.Is(err, os.ErrDeadlineExceeded) || took > tt.most {
					t.Errorf("the answer ended after %v with %v, at most %v are fine", took, err, tt.most)
				}
			})
		})
	}
}

// What strangers are given stays within the bandwidth that they may have, and within what
// an answer may be.
func TestStreams_GiveNoMoreThanTheyMay(t *testing.T) {
	const bandwidth = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		n, took, err := guestAsks(t, bandwidth, func(r io.Reader) int64 {
			n, err := io.Copy(io.Discard, bufio.NewReader(r))
			check(t, err)
			return n
		})
		check(t, err)
		least := time.Duration(maxAnswer-2*maxFrame) * time.Second / bandwidth
		if n > maxAnswer+maxFrame || took < least {
			t.Errorf("%d bytes came in %v, at least %v are fine", n, took, least)
		}
	})
}

// A question that is larger than any is refused before it is read.
func TestStreams_HugeQuestionIsNotRead(t *testing.T) {
	var huge bytes.Buffer
	check(t, writeRequest(&huge, request{Op: opRoot, Hash: make([]byte, 16<<10)}))
	if _, err := readRequest(&huge); api.KindOf(err) != api.Invalid || huge.Len() == 0 {
		t.Errorf("%v, %d bytes were not read", err, huge.Len())
	}
}
