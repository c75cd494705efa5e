package main

import (
	"context"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// admittedTopic is where members tell each other which followers' data hosts may fetch
// content: a follower is connected with few of them, and content may be on any.
const admittedTopic = "pinfold/admitted/2"

// admitting lets followers that say hello to any member fetch content from all.
type admitting struct {
	*admissions
	self  api.PeerID
	topic *p2p.Topic
}

// openAdmitting opens this peer's part in it; nil where it serves no followers.
func (p *Daemon) openAdmitting() error {
	if p.guests() == 0 {
		return nil
	}
	topic, err := p.host.Topic(admittedTopic, func(_ peer.ID, b []byte) bool {
		_, err := decodeAdmitted(b)
		return err == nil
	})
	if err != nil {
		return err
	}
	p.closes(topic.Close)
	p.admitting = &admitting{newAdmissions(p.data, p.c.Followers.MaxAdmitted, p.component("data")), p.ids.cluster.ID, topic}
	tellMembers(p.data, func() []peer.AddrInfo { return p.links.others(nil) })
	return nil
}

// meet admits the data host of a follower that said hello to this peer.
func (a *admitting) meet(f feed.Peer) { a.admit(admission{f.Data.ID, f.ID, f.From}, true) }

// admit runs the admissions, where there are some, until ctx ends.
func (p *Daemon) admit(ctx context.Context) error {
	a := p.admitting
	if a == nil {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx, a.tell) })
	g.Go(func() error { return a.hear(ctx) })
	return g.Wait()
}

// tell tells the other members of data hosts that may fetch content.
func (a *admitting) tell(ctx context.Context, news []admission) error {
	b, err := api.Encode(news)
	if err != nil {
		return err
	}
	return a.topic.Publish(ctx, b)
}

// hear admits whom other members did.
func (a *admitting) hear(ctx context.Context) error {
	for {
		from, b, err := a.topic.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		news, err := decodeAdmitted(b)
		if err != nil || from == a.self {
			continue
		}
		for _, n := range news {
			a.admit(n, false)
		}
	}
}

func decodeAdmitted(b []byte) (news []admission, err error) {
	if err := api.Decode(b, &news); err != nil {
		return nil, err
	}
	if len(news) > admissionsTold {
		return nil, api.TooLarge.Errorf("%d data hosts are too many", len(news))
	}
	return news, nil
}
