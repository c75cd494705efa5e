package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"
)

// The feed's own gossipsub, which members and followers take part in. That of the
// members stays theirs: the protocols differ.
const (
	feedGossip protocol.ID = "/pinfold/feed/gossip/1"
	feedTopic              = "pinfold/feed/1"

	// MaxFeedMessage bounds a message of the feed, in bytes.
	MaxFeedMessage = 256 << 10
	// feedOverhead is what an RPC takes beside its messages.
	feedOverhead = 16 << 10
	// feedBuffer messages wait for Next; what comes on top is dropped.
	feedBuffer = 64
	// feedQueue RPCs wait for a peer that does not read; what comes on top is dropped.
	feedQueue = 32
	// feedChecks messages are checked at once.
	feedChecks = 16
	// feedIDSize is the length of a message's name, part of its hash.
	feedIDSize = 20
	// feedSeen is for how long a message is known not to be new.
	feedSeen = 2 * time.Minute
)

// How a peer wears out our patience: it is disconnected, and not let in again for a while.
const (
	feedRejects  = 3   // messages that nobody honest passes on
	feedIgnores  = 256 // messages that are of no use, at once,
	feedIgnored  = 2   // and a second
	feedPatients = 1024
)

// A Verdict is what becomes of a message of the feed.
type Verdict int

const (
	Forward Verdict = iota // it is passed on, and Next gives it
	Ignore                 // it is of no use, though its bearer may be honest
	Reject                 // nobody honest passes it on
)

// feedOptions are gossipsub's for the feed. A message costs its publisher six sendings
// however many there are that read it: no flooding, and a mesh of ordinary degree. Peers
// outside the mesh are told of it (IHAVE) once, and two of them: that is for those whose
// mesh keeps it from them, and beacons come every few seconds.
func feedOptions(log *slog.Logger) []pubsub.Option {
	params := pubsub.DefaultGossipSubParams()
	params.D, params.Dlo, params.Dhi, params.Dscore, params.Dout = 6, 4, 8, 4, 2
	params.Dlazy, params.GossipFactor, params.HistoryGossip = 2, 0, 1
	params.MaxIHaveLength = 500
	features := func(f pubsub.GossipSubFeature, _ protocol.ID) bool {
		return f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeatureIdontwant
	}
	topics := pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(feedTopic), 4)
	return []pubsub.Option{
		pubsub.WithGossipSubProtocols([]protocol.ID{feedGossip}, features),
		pubsub.WithGossipSubParams(params),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), // statements are signed
		pubsub.WithMessageIdFn(feedID),
		pubsub.WithPeerScore(feedScore()),
		pubsub.WithFloodPublish(false),
		pubsub.WithPeerExchange(false),
		pubsub.WithSubscriptionFilter(topics),
		pubsub.WithMaxMessageSize(MaxFeedMessage + feedOverhead),
		pubsub.WithMaxControlMessageSize(feedOverhead),
		pubsub.WithPeerOutboundQueueSize(feedQueue),
		pubsub.WithSeenMessagesTTL(feedSeen),
		pubsub.WithLogger(demoted(log)),
		pubsub.WithRPCLogger(demoted(log)),
	}
}

func feedID(m *pb.Message) string {
	sum := sha256.Sum256(m.GetData())
	return string(sum[:feedIDSize])
}

// feedScore makes who sends invalid messages, or breaks the rules of the mesh, unheard.
// Addresses do not count: many followers behind one are no attack.
func feedScore() (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	return &pubsub.PeerScoreParams{
			AppSpecificScore:          func(peer.ID) float64 { return 0 },
			BehaviourPenaltyWeight:    -10,
			BehaviourPenaltyThreshold: 6,
			BehaviourPenaltyDecay:     pubsub.ScoreParameterDecay(10 * time.Minute),
			DecayInterval:             time.Second,
			DecayToZero:               0.01,
			RetainScore:               10 * time.Minute,
			Topics: map[string]*pubsub.TopicScoreParams{feedTopic: {
				SkipAtomicValidation:           true,
				TopicWeight:                    1,
				TimeInMeshQuantum:              time.Second,
				FirstMessageDeliveriesWeight:   1,
				FirstMessageDeliveriesDecay:    pubsub.ScoreParameterDecay(10 * time.Minute),
				FirstMessageDeliveriesCap:      20,
				InvalidMessageDeliveriesWeight: -20,
				InvalidMessageDeliveriesDecay:  pubsub.ScoreParameterDecay(10 * time.Minute),
			}},
		}, &pubsub.PeerScoreThresholds{
			GossipThreshold:             -20,
			PublishThreshold:            -50,
			GraylistThreshold:           -80,
			OpportunisticGraftThreshold: 1,
			// To turn peer exchange off is about telling. Nobody's score is so high that
			// whom it names is called: any address may be behind a name.
			AcceptPXThreshold: math.MaxFloat64,
		}
}

// NewFeed takes part in the feed over h, which must not listen yet. The feed ends with
// ctx.
func NewFeed(ctx context.Context, h host.Host, log *slog.Logger) (*Feed, error) {
	ps, err := pubsub.NewGossipSub(ctx, h, feedOptions(log)...)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return &Feed{ps: ps, self: h.ID(), judges: map[peer.ID]*judge{}}, nil
}

// A Feed is gossip between members and followers. Messages are not signed by who passes
// them on: what is in them is for the reader to check.
type Feed struct {
	ps   *pubsub.PubSub
	self peer.ID
	// Bad is called about a peer that wore out our patience, where it is set. It must not
	// block. It is set before Join.
	Bad func(peer.ID)

	topic *pubsub.Topic
	sub   *pubsub.Subscription

	mu     sync.Mutex
	judges map[peer.ID]*judge
}

// A judge counts what a peer did that was of no use.
type judge struct {
	rejects int
	ignores *rate.Limiter
}

// Join takes part with what valid lets through: it must be quick, and safe for concurrent
// use. Messages come and are passed on once Read or Relay was called. Join is called once.
func (f *Feed) Join(valid func(from peer.ID, data []byte) Verdict) error {
	check := func(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		v := Reject
		if len(m.GetData()) <= MaxFeedMessage {
			v = valid(from, m.GetData())
		}
		if v != Forward && from != f.self {
			f.judge(from, v)
		}
		switch v {
		case Forward:
			return pubsub.ValidationAccept
		case Ignore:
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationReject
	}
	err := f.ps.RegisterTopicValidator(feedTopic, check, pubsub.WithValidatorConcurrency(feedChecks))
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	if f.topic, err = f.ps.Join(feedTopic); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}

// Read begins to take messages for Next, and to pass them on.
func (f *Feed) Read() (err error) {
	if f.sub, err = f.topic.Subscribe(pubsub.WithBufferSize(feedBuffer)); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}

// Relay begins to pass messages on, until stop.
func (f *Feed) Relay() (stop func(), err error) {
	if stop, err = f.topic.Relay(); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return stop, nil
}

// Readers tells how many connected peers read or relay.
func (f *Feed) Readers() int { return len(f.topic.ListPeers()) }

func (f *Feed) judge(from peer.ID, v Verdict) {
	f.mu.Lock()
	j := f.judges[from]
	if j == nil {
		if len(f.judges) >= feedPatients {
			clear(f.judges)
		}
		j = &judge{ignores: rate.NewLimiter(feedIgnored, feedIgnores)}
		f.judges[from] = j
	}
	bad := false
	if v == Reject {
		j.rejects++
		bad = j.rejects >= feedRejects
	} else {
		bad = !j.ignores.Allow()
	}
	f.mu.Unlock()
	if bad && f.Bad != nil {
		f.Bad(from)
	}
}

// Publish gives data, at most MaxFeedMessage bytes, to a few peers that pass it on. It
// waits for nobody, and takes neither Read nor Relay.
func (f *Feed) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxFeedMessage {
		return fmt.Errorf("publish on the feed: %d bytes are too many", len(data))
	}
	if err := f.topic.Publish(ctx, data); err != nil {
		return fmt.Errorf("publish on the feed: %w", err)
	}
	return nil
}

// Next waits for a message of another peer, after Read. Those that came while many waited
// are lost.
func (f *Feed) Next(ctx context.Context) ([]byte, error) {
	for {
		m, err := f.sub.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("next on the feed: %w", err)
		}
		if !m.Local {
			return m.GetData(), nil
		}
	}
}

// Leave ends what Join and Read began; a Relay was stopped before.
func (f *Feed) Leave() error {
	if f.sub != nil {
		f.sub.Cancel()
	}
	err := f.ps.UnregisterTopicValidator(feedTopic)
	if f.topic != nil {
		err = errors.Join(err, f.topic.Close())
	}
	if errors.Is(err, context.Canceled) { // the host was closed, and all topics with it
		return nil
	}
	return err
}
