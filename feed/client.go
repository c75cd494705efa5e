package feed

import (
	"context"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	helloTime = 8 * time.Second  // for an introduction
	askTime   = 70 * time.Second // for an answer: somewhat more than its sender gives itself
	partTime  = 15 * time.Second // for a part of it
)

// client asks other peers.
type client struct{ net Network }

// ask gives each part of the answer to take. The error is of the other's kind, and
// Unavailable where it does not answer.
func (c client) ask(ctx context.Context, id api.PeerID, req request, limit time.Duration, take func([]byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := c.net.Dial(ctx, id)
	if err != nil {
		return api.Unavailable.Errorf("ask %s: %w", id, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := writeRequest(conn, req); err != nil {
		return api.Unavailable.Errorf("ask %s: %w", id, err)
	}
	// One that says nothing for long will not any more.
	idle := time.AfterFunc(partTime, cancel)
	defer idle.Stop()
	return readAnswer(conn, func(b []byte) error {
		idle.Reset(partTime)
		return take(b)
	})
}

// one asks for an answer of one part.
func (c client) one(ctx context.Context, id api.PeerID, req request, limit time.Duration) (b []byte, err error) {
	err = c.ask(ctx, id, req, limit, func(part []byte) error {
		if b != nil {
			return api.Invalid.Errorf("an answer of two parts")
		}
		b = part
		return nil
	})
	if err == nil && b == nil {
		err = api.Invalid.Errorf("an answer without a word")
	}
	return b, err
}

// value asks for an answer that is one value, of a stranger: a byte of it can be one of 300
// bytes of memory, so no list in it may be long.
func (c client) value(ctx context.Context, id api.PeerID, req request, limit time.Duration, v any) error {
	b, err := c.one(ctx, id, req, limit)
	if err != nil {
		return err
	}
	short, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxArrayElements: MaxAsked, MaxMapPairs: MaxAsked}.DecMode()
	if err != nil {
		return err
	}
	if err := short.Unmarshal(b, v); err != nil {
		return api.Invalid.Errorf("decode: %w", err)
	}
	return nil
}

func (c client) hello(ctx context.Context, id api.PeerID, own hello) (h hello, err error) {
	if err := c.value(ctx, id, request{Op: opHello, Hello: &own}, helloTime, &h); err != nil {
		return h, err
	}
	return h, h.check()
}

// introduction is what a peer says of itself.
func introduction(n Network, name, version string, data func() peer.AddrInfo) hello {
	h := hello{Name: name[:min(len(name), maxName)], Version: version[:min(len(version), maxName)]}
	for _, a := range n.Addrs() {
		if info, err := peer.AddrInfoFromP2pAddr(a); err == nil && len(h.Addrs) < maxAddresses {
			h.Addrs = append(h.Addrs, info.Addrs...)
		}
	}
	if data != nil {
		d := data()
		h.DataID, h.DataAddrs = []byte(d.ID), d.Addrs[:min(len(d.Addrs), maxAddresses)]
	}
	return h
}

// peer is who says h, over a connection of n.
func (h hello) peer(n Network, id api.PeerID, member bool) Peer {
	p := Peer{ID: id, From: n.Address(id), Name: h.Name, Version: h.Version, Addrs: h.Addrs, Member: member}
	if data, err := peer.IDFromBytes(h.DataID); err == nil {
		p.Data = peer.AddrInfo{ID: data, Addrs: h.DataAddrs}
	}
	if !member {
		p.Addrs, p.Data.Addrs = believable(p.From, p.Addrs), believable(p.From, p.Data.Addrs)
	}
	return p
}
