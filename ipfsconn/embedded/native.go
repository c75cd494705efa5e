package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/gc"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// Patient reads as Reader(true) does, but gives up on a block that has not come for
// Options.RetrievalTimeout.
func (n *Node) Patient() blockservice.BlockService { return n.bounded }

// Host is the data host, nil off line.
func (n *Node) Host() host.Host { return n.host }

// Stored lists the node's blocks in order of their hashes, as raw CIDs.
func (n *Node) Stored(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return during(n, n.blocks.List(ctx))
}

// CountStored tells how many blocks the node has. It reads the index of them all.
func (n *Node) CountStored(ctx context.Context) (int, error) {
	if err := n.use.begin(); err != nil {
		return 0, err
	}
	defer n.use.end()
	return n.blocks.Count(ctx)
}

// Delete removes a block at once, as gc.Remove does.
func (n *Node) Delete(ctx context.Context, c cid.Cid) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	return gc.Remove(ctx, n.blocks, n.pins, &n.files, c)
}

// Below lists what is below recursive pins, as far as it is here: each block once for
// each pin and, if distinct is set, once altogether. Every one comes with its pin.
func (n *Node) Below(ctx context.Context, distinct bool) iter.Seq2[api.Kept, error] {
	return during(n, func(yield func(api.Kept, error) bool) {
		seen := map[string]struct{}{}
		for p, err := range n.pins.List(ctx, api.CidUndef) {
			if err != nil {
				yield(api.Kept{}, err)
				return
			}
			if p.State == pins.Partial || p.Mode != api.PinRecursive {
				continue
			}
			if !n.below(ctx, p.Cid.Cid, distinct, seen, yield) {
				return
			}
		}
	})
}

// below yields what is below one pin. seen are the nodes whose links were followed
// and, where each block is wanted once, all that were yielded.
func (n *Node) below(ctx context.Context, pin cid.Cid, distinct bool, seen map[string]struct{}, yield func(api.Kept, error) bool) bool {
	for todo := []cid.Cid{pin}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		links, err := n.localLinks(ctx, c)
		if err != nil {
			return yield(api.Kept{}, err)
		}
		for _, l := range links {
			leaf := dag.IsLeaf(l)
			if _, ok := seen[l.KeyString()]; ok && (distinct || !leaf) {
				continue
			}
			if distinct || !leaf {
				seen[l.KeyString()] = struct{}{}
			}
			if !yield(api.Kept{Cid: api.Cid{Cid: l}, Pin: api.Cid{Cid: pin}}, nil) {
				return false
			}
			if !leaf {
				todo = append(todo, l)
			}
		}
	}
	return true
}

// localLinks reads the links of a block, none where it is not here or cannot be read.
func (n *Node) localLinks(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	here, err := n.blocks.Has(ctx, c)
	if err != nil || !here {
		return nil, err
	}
	b, err := n.blocks.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	links, err := dag.Links(c, b.RawData())
	if err != nil {
		n.log.Debug("links not read", "cid", c, "err", err)
		return nil, nil
	}
	return links, nil
}

// Exchanged tells what the node has traded; nothing off line.
func (n *Node) Exchanged() (api.Exchanged, error) {
	if n.bitswap == nil {
		return api.Exchanged{}, nil
	}
	st, err := n.bitswap.Stat()
	given, givenErr := n.bitswap.given()
	if err := errors.Join(err, givenErr); err != nil {
		return api.Exchanged{}, fmt.Errorf("bitswap: %w", err)
	}
	x := api.Exchanged{Messages: st.MessagesReceived, BlocksReceived: st.BlocksReceived,
		DataReceived: st.DataReceived, BlocksSent: given.BlocksSent, DataSent: given.DataSent}
	for _, c := range st.Wantlist {
		x.Wantlist = append(x.Wantlist, api.Cid{Cid: c})
	}
	for _, p := range given.Peers {
		id, err := api.ParsePeerID(p)
		if err != nil {
			return api.Exchanged{}, fmt.Errorf("bitswap: peer %q: %w", p, err)
		}
		x.Peers = append(x.Peers, id)
	}
	return x, nil
}

// Ledger tells what bitswap has traded with one peer.
func (n *Node) Ledger(id peer.ID) (*server.Receipt, error) {
	if n.bitswap == nil {
		return nil, api.Unsupported.Errorf("the node is off line")
	}
	if s := n.bitswap.serverOf(id); s != nil {
		return s.LedgerForPeer(id), nil
	}
	return &server.Receipt{Peer: id.String()}, nil
}
