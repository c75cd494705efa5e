package feed

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Who forges what members say has lied. Who passes on what was said under another key of the
// cluster, or in another incarnation, has not; nor who refuses, or does not answer.
func TestLies(t *testing.T) {
	w := newWorld(t, 1)
	m := w.members[0]
	i := w.intrude()
	other := identity(t)
	foreign, err := p2p.NewCluster("other", other.ID, identity(t).ID)
	check(t, err)
	later := p2p.NewVerifier(w.cluster.Key, w.cluster.Incarnation+1)
	body, err := m.pub.beacon()
	check(t, err)
	honest, err := m.sign(kindBeacon, body)
	check(t, err)
	forged, err := p2p.SignStatement(i.id, *m.cert.Load(), kindBeacon, body)
	check(t, err)
	stranger, err := p2p.SignStatement(other, foreign.Certificate, kindBeacon, body)
	check(t, err)
	opened := func(v *p2p.Verifier, raw []byte) error {
		_, err := newJudge(v).read(raw)
		return err
	}
	for what, c := range map[string]struct {
		err  error
		lies bool
	}{
		"a beacon": {opened(m.verifier, honest), false},
		"somebody's under the certificate of a member": {opened(m.verifier, forged), true},
		"noise":                  {opened(m.verifier, []byte("noise")), true},
		"of another key":         {opened(m.verifier, stranger), false},
		"of another incarnation": {opened(later, honest), false},
		"a page of another hash": {fmt.Errorf("a page: %w", errPoisoned), true},
		"refused":                {decodeFault(encodeFault(api.Denied.Errorf("say hello first"))), false},
		"busy":                   {decodeFault(encodeFault(errBusy)), false},
		"out of touch":           {decodeFault(encodeFault(astray.Errorf("no leader"))), false},
		"not reached":            {api.Unavailable.Errorf("ask: %w", p2p.ErrDenied), false},
		"nothing any more":       {context.DeadlineExceeded, false},
	} {
		if got := lies(c.err); got != c.lies {
			t.Errorf("%s: %v is taken for a lie: %t", what, c.err, got)
		}
	}
	if err := opened(m.verifier, forged); !errors.Is(err, p2p.ErrDenied) {
		t.Errorf("what is forged: %v", err)
	}
}

// forger says what no member has said, and counts who comes.
type forger struct {
	source
	net    Network
	forged []byte
	calls  atomic.Int64
}

func (f *forger) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	f.calls.Add(1)
	return hello{Admitted: f.net.Welcome(from)}, nil
}
func (f *forger) root(context.Context) ([]byte, error) { return f.forged, nil }
func (f *forger) since(_ context.Context, _ uint64, _ [32]byte, send func([]byte) error) error {
	return send(f.forged)
}

// A neighbour that forges what members say is left, and not called again soon.
func TestFollower_LeavesWhoForges(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	i := w.intrude()
	forged, err := p2p.SignStatement(i.id, *w.members[0].cert.Load(), kindBeacon, []byte("what it likes"))
	check(t, err)
	src := &forger{net: i, forged: forged}
	run(t, newStreams(i, src, 0, feedLog()).run)
	f := w.follow(FollowerOptions{Members: []peer.AddrInfo{info(i.host)}, Patience: 200 * time.Millisecond})
	isLeft := func() bool {
		f.Follower.mu.Lock()
		defer f.Follower.mu.Unlock()
		_, is := f.neighbours[i.ID()]
		return !is && time.Now().Before(f.liars[i.ID()])
	}
	eventually(t, "the forger is left", isLeft)
	k := &keeper{Follower: f.Follower, busy: map[api.PeerID]bool{}}
	if !k.known(&contact{AddrInfo: info(i.host)}) {
		t.Error("it is to be called again")
	}
	if n := src.calls.Load(); n != 1 {
		t.Errorf("it was called %d times", n)
	}
}
