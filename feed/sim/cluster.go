package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// voters are the full peers of a Cluster; the first leads.
const voters = 3

// small states: there are a thousand in one process.
var small = state.Options{CacheBytes: 64 << 10, MemTableBytes: 64 << 10}

// A Cluster is full peers and followers with states of their own, on a Network. The
// log that the full peers would agree on is a loop that tells them all.
type Cluster struct {
	Net    *Network
	Voters [voters]*Voter

	dir     string
	cluster *p2p.Cluster
	members Members
	addrs   []peer.AddrInfo
	index   uint64

	mu     sync.Mutex
	told   map[api.Cid]time.Time       // when the leader heard of a pin
	delays map[api.Cid][]time.Duration // until followers had it
	pinned int
}

// A Voter is one full peer.
type Voter struct {
	*Peer
	State     *state.State
	Publisher *feed.Publisher
	sign      feed.Sign
	silent    atomic.Bool // it publishes nothing, be it that it leads
	run       *errgroup.Group
	stop      context.CancelFunc
}

// NewCluster starts full peers with places for so many followers each. Their states
// are in dir. The caller closes the cluster.
func NewCluster(net *Network, dir string, places int) (*Cluster, error) {
	c := &Cluster{Net: net, dir: dir, members: Members{}, told: map[api.Cid]time.Time{}, delays: map[api.Cid][]time.Duration{}}
	ids := make([]p2p.Identity, voters)
	var err error
	for i := range ids {
		if ids[i], err = p2p.NewIdentity(); err != nil {
			return nil, err
		}
		c.members[ids[i].ID] = true
	}
	if c.cluster, err = p2p.NewCluster("sim", ids[0].ID, ids[0].ID); err != nil {
		return nil, err
	}
	for i, id := range ids {
		if c.Voters[i], err = c.voter(id, places, i == 0); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.addrs = append(c.addrs, peer.AddrInfo{ID: id.ID, Addrs: []api.Multiaddr{c.Voters[i].node.addr}})
		for _, other := range c.addrs[:i] {
			if err := c.Voters[i].Connect(context.Background(), other); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
	}
	return c, nil
}

func (c *Cluster) voter(id p2p.Identity, places int, leads bool) (*Voter, error) {
	cert, err := c.cluster.Certify(id.ID, id.ID)
	if err != nil {
		return nil, err
	}
	st, err := c.state(id)
	if err != nil {
		return nil, err
	}
	p, err := c.Net.Peer(id, &c.members, places)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	sign := func(kind string, body []byte) ([]byte, error) { return p2p.SignStatement(id, cert, kind, body) }
	asks := newAsker()
	ctx, stop := context.WithCancel(context.Background())
	v := &Voter{Peer: p, State: st, sign: sign, run: new(errgroup.Group), stop: stop}
	o := feed.PublisherOptions{Leads: func() bool { return leads && !v.silent.Load() }, Met: asks.met, Coverage: coverage}
	v.Publisher = feed.NewPublisher(p, c.verifier(), sign, st, o, quiet)
	v.run.Go(func() error { return v.Publisher.Run(ctx) })
	asks.v = v
	v.run.Go(func() error { return asks.run(ctx) })
	return v, nil
}

// Close ends the full peers. Followers are ended before.
func (c *Cluster) Close() error {
	var errs []error
	for _, v := range c.Voters {
		if v == nil {
			continue
		}
		v.stop()
		errs = append(errs, v.run.Wait(), v.Peer.Close(), v.State.Close())
	}
	return errors.Join(errs...)
}

func (c *Cluster) verifier() *p2p.Verifier {
	return p2p.NewVerifier(c.cluster.Key, c.cluster.Incarnation)
}

// state opens the state of a peer, which may be that of an earlier run.
func (c *Cluster) state(id p2p.Identity) (*state.State, error) {
	dir := filepath.Join(c.dir, id.ID.String(), "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return state.Open(dir, small, quiet)
}

// Pin commits one log entry that adds so many pins.
func (c *Cluster) Pin(pins int) error {
	c.index++
	var rows []state.Row
	c.mu.Lock()
	for range pins {
		p := somePin(c.pinned)
		c.told[p.Cid] = time.Now()
		c.pinned++
		rows = append(rows, state.Row{Cid: p.Cid})
	}
	c.mu.Unlock()
	for _, v := range c.Voters {
		b := v.State.NewBatch()
		ch := state.Changes{Index: c.index, Before: b.Digest().Pins}
		for i := range rows {
			if err := b.Put(somePin(c.pinned - pins + i)); err != nil {
				return err
			}
		}
		ch.After = b.Digest().Pins
		for _, r := range rows {
			row, err := b.Row(r.Cid)
			if err != nil {
				return err
			}
			ch.Rows = append(ch.Rows, row)
		}
		if err := b.Commit(c.index); err != nil {
			return err
		}
		v.Publisher.Changed(ch)
	}
	return nil
}

// somePin is the nth of an endless row of pins of ordinary length.
func somePin(n int) api.Pin {
	sum, err := mh.Sum([]byte(fmt.Sprintf("pin %d", n)), mh.SHA2_256, -1)
	if err != nil {
		panic(err) // the hash is known
	}
	p := api.NewPin(api.Cid{Cid: cid.NewCidV1(cid.DagProtobuf, sum)}, api.PinOptions{
		ReplicationFactorMin: 2, ReplicationFactorMax: 3,
		Name:     fmt.Sprintf("archive/2026/%08d.warc.gz", n),
		Metadata: map[string]string{"collection": "archive"},
	}, time.Unix(1_795_000_000+int64(n), 0).UTC())
	p.Size = uint64(1_000_000 + n)
	return p
}

var quiet = slog.New(slog.DiscardHandler)
