package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

func anything(peer.ID, []byte) bool { return true }

func topic(t *testing.T, h *Host, valid func(peer.ID, []byte) bool) *Topic {
	t.Helper()
	topic, err := h.Topic("test", valid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := topic.Close(); err != nil {
			t.Error(err)
		}
	})
	return topic
}

// meshed waits until the peer is known to read the topic.
func meshed(t *testing.T, from, to *Host) {
	t.Helper()
	eventually(t, "the topic's readers find each other", func() bool {
		for _, p := range from.pubsub.ListPeers("test") {
			if p == to.ID() {
				return true
			}
		}
		return false
	})
}

func next(t *testing.T, topic *Topic) (peer.ID, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	from, data, err := topic.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return from, string(data)
}

func TestTopic_MembersHearEachOther(t *testing.T) {
	c := newTestCluster(t)
	a, b := c.member(), c.member()
	ta := topic(t, a, anything)
	tb := topic(t, b, func(from peer.ID, data []byte) bool { return !bytes.Contains(data, []byte("bad")) })
	connect(t, a, b)
	meshed(t, a, b)
	for _, message := range []string{"bad", "good"} {
		if err := ta.Publish(t.Context(), []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	if from, got := next(t, tb); from != a.ID() || got != "good" {
		t.Fatalf("got %q of %s, want %q of %s", got, from, "good", a.ID())
	}
	if from, got := next(t, ta); from != a.ID() || got != "bad" {
		t.Fatalf("its own: %q of %s", got, from)
	}
	if err := ta.Publish(t.Context(), make([]byte, MaxMessage+1)); err == nil {
		t.Fatal("a message that is too long passes")
	}
	if err := ta.Publish(t.Context(), bytes.Repeat([]byte("x"), MaxMessage)); err != nil {
		t.Fatal(err)
	}
	if _, got := next(t, tb); len(got) != MaxMessage {
		t.Fatalf("the longest message: %d bytes", len(got))
	}
}

// A stranger with gossipsub of its own neither hears nor is heard.
func TestTopic_StrangerIsShutOut(t *testing.T) {
	c := newTestCluster(t)
	a, b, stranger := c.member(), c.member(), c.stranger()
	if _, err := stranger.Topic("test", anything); !errors.Is(err, ErrDenied) {
		t.Fatalf("its own host: %v, want ErrDenied", err)
	}
	ps, err := newPubSub(t.Context(), stranger.h, PubSub{}.withDefaults(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	stranger.pubsub = ps
	raw, err := ps.Join("test")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := raw.Subscribe()
	if err != nil {
		t.Fatal(err)
	}

	ta, tb := topic(t, a, anything), topic(t, b, anything)
	connect(t, stranger, a)
	connect(t, stranger, b)
	connect(t, a, b)
	meshed(t, a, b)
	s, err := stranger.h.NewStream(t.Context(), a.ID(), pubsub.GossipSubID_v11)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(10 * time.Second))
	var timeout net.Error
	if _, err := s.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("its stream is not reset: %v", err)
	}
	onlyTruth(t, tb,
		func(lie []byte) error { return raw.Publish(t.Context(), lie) },
		func(truth []byte) error { return ta.Publish(t.Context(), truth) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for {
		m, err := sub.Next(ctx)
		if err != nil {
			break
		}
		if m.GetFrom() != stranger.ID() {
			t.Fatalf("the stranger heard %q", m.GetData())
		}
	}
}

// A member may pass on only what members signed.
func TestTopic_MemberCannotPassOnStrangers(t *testing.T) {
	c := newTestCluster(t)
	a, b, stranger := c.member(), c.member(), newIdentity(t)
	tb := topic(t, b, anything)
	connect(t, a, b)
	// a, gone bad, signs with a key that is not certified.
	raw, err := a.pubsub.Join("test")
	if err != nil {
		t.Fatal(err)
	}
	meshed(t, a, b)
	onlyTruth(t, tb,
		func(lie []byte) error {
			return raw.Publish(t.Context(), lie, pubsub.WithSecretKeyAndPeerId(stranger.Key, stranger.ID))
		},
		func(truth []byte) error { return raw.Publish(t.Context(), truth) })
}

// onlyTruth publishes lies and truths by turns, and fails if a lie is heard. Messages
// are checked side by side, so a lie may be late; hence the turns.
func onlyTruth(t *testing.T, heard *Topic, lie, truth func([]byte) error) {
	t.Helper()
	for i := range 50 {
		if err := errors.Join(lie([]byte("lie")), truth(fmt.Append(nil, i))); err != nil {
			t.Fatal(err)
		}
		if from, got := next(t, heard); got != fmt.Sprint(i) {
			t.Fatalf("heard %q of %s", got, from)
		}
	}
}

func TestTopic_RemovedMemberIsNotHeard(t *testing.T) {
	c := newTestCluster(t)
	a, b, gone := c.member(), c.member(), c.member()
	tb, ta, tg := topic(t, b, anything), topic(t, a, anything), topic(t, gone, anything)
	connect(t, gone, b)
	connect(t, a, b)
	meshed(t, gone, b)
	meshed(t, a, b)
	if err := tg.Publish(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}
	if _, got := next(t, tb); got != "before" {
		t.Fatalf("heard %q", got)
	}
	c.remove(gone.ID())
	onlyTruth(t, tb,
		func(lie []byte) error { return tg.Publish(t.Context(), lie) },
		func(truth []byte) error { return ta.Publish(t.Context(), truth) })
}

func TestTopic_CanBeLeftAndJoinedAgain(t *testing.T) {
	c := newTestCluster(t)
	a := c.member()
	for range 3 {
		topic, err := a.Topic("test", anything)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Topic("test", anything); err == nil {
			t.Fatal("joined twice")
		}
		if err := topic.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
