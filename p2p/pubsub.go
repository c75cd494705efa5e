package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// MaxMessage bounds what Publish takes, in bytes.
	MaxMessage = 1<<20 - 1<<10
	// topicBuffer messages wait for Next; what comes on top is dropped.
	topicBuffer = 1024
	// topicChecks messages of a topic are looked at at once.
	topicChecks = 256
)

func newPubSub(ctx context.Context, h host.Host, o PubSub, log *slog.Logger) (*pubsub.PubSub, error) {
	return pubsub.NewGossipSub(ctx, h,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithGossipSubParams(o.params()),
		pubsub.WithSeenMessagesTTL(o.SeenMessagesTTL),
		pubsub.WithFloodPublish(*o.FloodPublish),
		pubsub.WithMaxMessageSize(1<<20),
		pubsub.WithLogger(log),
		pubsub.WithRPCLogger(log))
}

// Topic is a subject on which members publish messages to all members. A message is
// signed by its publisher; nobody passes on, and Next does not return, one that a
// certified member did not publish.
type Topic struct {
	name  string
	ps    *pubsub.PubSub
	topic *pubsub.Topic
	sub   *pubsub.Subscription
	peers *pubsub.TopicEventHandler
}

// Topic joins the topic. Messages that valid rejects go no further: it must be
// quick, and safe for concurrent use. A topic can be joined once at a time.
func (h *Host) Topic(name string, valid func(from peer.ID, data []byte) bool) (*Topic, error) {
	if h.pubsub == nil {
		return nil, fmt.Errorf("topic %s: this peer has not joined: %w", name, ErrDenied)
	}
	check := func(ctx context.Context, _ peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		from := m.GetFrom()
		if from != h.ID() {
			if err := h.Check(ctx, from); errors.Is(err, ErrDenied) {
				return pubsub.ValidationReject
			} else if err != nil {
				return pubsub.ValidationIgnore
			}
		}
		if !valid(from, m.GetData()) {
			return pubsub.ValidationReject
		}
		return pubsub.ValidationAccept
	}
	err := h.pubsub.RegisterTopicValidator(name, check,
		pubsub.WithValidatorTimeout(certificateTimeout), pubsub.WithValidatorConcurrency(topicChecks))
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", name, err)
	}
	t := &Topic{name: name, ps: h.pubsub}
	if t.topic, err = h.pubsub.Join(name); err == nil {
		t.sub, err = t.topic.Subscribe(pubsub.WithBufferSize(topicBuffer))
	}
	if err == nil {
		t.peers, err = t.topic.EventHandler()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("topic %s: %w", name, err), t.Close())
	}
	return t, nil
}

// Publish sends data, at most MaxMessage bytes, to all members, and to this peer's
// own Next. It waits for nobody.
func (t *Topic) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("publish on %s: %d bytes are too many", t.name, len(data))
	}
	if err := t.topic.Publish(ctx, data); err != nil {
		return fmt.Errorf("publish on %s: %w", t.name, err)
	}
	return nil
}

// Next waits for a message: who signed it, and what it says. Those that came while
// a thousand waited are lost.
func (t *Topic) Next(ctx context.Context) (from peer.ID, data []byte, err error) {
	m, err := t.sub.Next(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("next on %s: %w", t.name, err)
	}
	return m.GetFrom(), m.GetData(), nil
}

// Arrived waits for another peer to read the topic: one that a message published before
// may not have reached.
func (t *Topic) Arrived(ctx context.Context) error {
	for {
		e, err := t.peers.NextPeerEvent(ctx)
		if err != nil {
			return fmt.Errorf("arrivals on %s: %w", t.name, err)
		}
		if e.Type == pubsub.PeerJoin {
			return nil
		}
	}
}

// Close leaves the topic.
func (t *Topic) Close() error {
	if t.peers != nil {
		t.peers.Cancel()
	}
	if t.sub != nil {
		t.sub.Cancel()
	}
	err := t.ps.UnregisterTopicValidator(t.name)
	if t.topic != nil {
		err = errors.Join(err, t.topic.Close())
	}
	if errors.Is(err, context.Canceled) { // the host was closed, and all topics with it
		return nil
	}
	return err
}
