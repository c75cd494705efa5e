package api

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Encoder appends the JSON of what long lists hold: what encoding/json makes of it,
// byte for byte, several times as fast. It remembers the text of peer IDs and of lists
// of addresses, which must not change while it is used, so one serves a whole list. It
// is for one goroutine; the zero value is ready.
//
// Errors are those of a time whose year has not four digits; what was appended is
// then taken back.
type Encoder struct {
	peers map[PeerID][]byte
	names []string // of the info in hand
	addrs []addrsText
}

// addrsText is the text of a list of addresses. Many infos of one peer share a list.
type addrsText struct {
	first *Multiaddr
	n     int
	text  []byte
}

// maxPeerTexts and maxAddrTexts bound what an Encoder remembers.
const (
	maxPeerTexts = 1024
	maxAddrTexts = 16
)

// AppendPin appends p to b.
func (e *Encoder) AppendPin(b []byte, p *Pin) ([]byte, error) {
	out := append(b, `{"replication_factor_min":`...)
	out = strconv.AppendInt(out, int64(p.ReplicationFactorMin), 10)
	out = append(out, `,"replication_factor_max":`...)
	out = strconv.AppendInt(out, int64(p.ReplicationFactorMax), 10)
	out = append(out, `,"name":`...)
	out = appendString(out, p.Name)
	out = append(out, `,"mode":"`...)
	out = append(out, p.Mode.String()...)
	out = append(out, `","shard_size":`...)
	out = strconv.AppendUint(out, p.ShardSize, 10)
	out = append(out, `,"user_allocations":`...)
	out = e.appendPeers(out, p.UserAllocations)
	out = append(out, `,"expire_at":`...)
	var err error
	if out, err = appendTime(out, p.ExpireAt); err != nil {
		return b, err
	}
	out = append(out, `,"metadata":`...)
	out = appendMap(out, p.Metadata)
	out = append(out, `,"pin_update":`...)
	out = appendCid(out, p.PinUpdate)
	out = append(out, `,"origins":`...)
	out = e.appendAddrs(out, p.Origins)
	if len(p.Followers) > 0 {
		out = append(out, `,"followers":`...)
		out = e.appendPeers(out, p.Followers)
	}
	out = append(out, `,"cid":`...)
	out = appendCid(out, p.Cid)
	out = append(out, `,"type":"`...)
	out = append(out, p.Type.String()...)
	out = append(out, `","allocations":`...)
	out = e.appendPeers(out, p.Allocations)
	out = append(out, `,"max_depth":`...)
	out = strconv.AppendInt(out, int64(p.MaxDepth), 10)
	out = append(out, `,"reference":`...)
	out = appendCid(out, p.Reference)
	out = append(out, `,"timestamp":`...)
	if out, err = appendTime(out, p.Timestamp); err != nil {
		return b, err
	}
	if len(p.Leaving) > 0 {
		out = append(out, `,"leaving":`...)
		out = e.appendPeers(out, p.Leaving)
	}
	if p.Size != 0 {
		out = append(out, `,"size":`...)
		out = strconv.AppendUint(out, p.Size, 10)
	}
	if len(p.Requests) > 0 {
		text, err := json.Marshal(p.Requests)
		if err != nil {
			return b, err
		}
		out = append(append(out, `,"requests":`...), text...)
	}
	return append(out, '}'), nil
}

// AppendInfo appends g to b.
func (e *Encoder) AppendInfo(b []byte, g *GlobalPinInfo) ([]byte, error) {
	out := append(b, `{"cid":`...)
	out = appendCid(out, g.Cid)
	out = append(out, `,"name":`...)
	out = appendString(out, g.Name)
	out = append(out, `,"allocations":`...)
	out = e.appendPeers(out, g.Allocations)
	out = append(out, `,"origins":`...)
	out = e.appendAddrs(out, g.Origins)
	out = append(out, `,"created":`...)
	var err error
	if out, err = appendTime(out, g.Created); err != nil {
		return b, err
	}
	out = append(out, `,"metadata":`...)
	out = appendMap(out, g.Metadata)
	out = append(out, `,"peer_map":`...)
	if out, err = e.appendShorts(out, g.PeerMap); err != nil {
		return b, err
	}
	if len(g.Followers) > 0 {
		out = append(out, `,"followers":`...)
		if out, err = e.appendShorts(out, g.Followers); err != nil {
			return b, err
		}
	}
	return append(out, '}'), nil
}

func (e *Encoder) appendShorts(b []byte, m map[string]PinInfoShort) ([]byte, error) {
	if m == nil {
		return append(b, "null"...), nil
	}
	e.names = e.names[:0]
	for name := range m {
		e.names = append(e.names, name)
	}
	slices.Sort(e.names)
	b = append(b, '{')
	for i, name := range e.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		p := m[name]
		var err error
		if b, err = e.appendShort(b, &p); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func (e *Encoder) appendShort(b []byte, p *PinInfoShort) ([]byte, error) {
	b = append(b, `{"peername":`...)
	b = appendString(b, p.PeerName)
	if p.IPFS != "" {
		b = append(b, `,"ipfs_peer_id":`...)
		b = e.appendPeer(b, p.IPFS)
	}
	if len(p.IPFSAddresses) > 0 {
		b = append(b, `,"ipfs_peer_addresses":`...)
		b = e.appendAddrs(b, p.IPFSAddresses)
	}
	b = append(b, `,"status":`...)
	b = appendString(b, p.Status.String())
	b = append(b, `,"timestamp":`...)
	b, err := appendTime(b, p.Timestamp)
	if err != nil {
		return b, err
	}
	b = append(b, `,"error":`...)
	b = appendString(b, p.Error)
	b = append(b, `,"attempt_count":`...)
	b = strconv.AppendInt(b, int64(p.AttemptCount), 10)
	b = append(b, `,"priority_pin":`...)
	b = strconv.AppendBool(b, p.PriorityPin)
	if p.Cause != "" {
		b = append(b, `,"cause":`...)
		b = appendString(b, string(p.Cause))
	}
	if !p.NextTry.IsZero() {
		b = append(b, `,"next_try":`...)
		if b, err = appendTime(b, p.NextTry); err != nil {
			return b, err
		}
	}
	if p.Bytes != 0 {
		b = append(b, `,"bytes":`...)
		b = strconv.AppendUint(b, p.Bytes, 10)
	}
	if p.Rate != 0 {
		b = append(b, `,"rate":`...)
		b = strconv.AppendUint(b, p.Rate, 10)
	}
	return append(b, '}'), nil
}

func (e *Encoder) appendPeers(b []byte, ids []PeerID) []byte {
	if ids == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.appendPeer(b, id)
	}
	return append(b, ']')
}

func (e *Encoder) appendPeer(b []byte, id PeerID) []byte {
	text, ok := e.peers[id]
	if !ok {
		text = appendString(nil, id.String())
		if e.peers == nil {
			e.peers = map[PeerID][]byte{}
		}
		if len(e.peers) < maxPeerTexts {
			e.peers[id] = text
		}
	}
	return append(b, text...)
}

// appendCid appends the text of c, which holds nothing that JSON escapes.
func appendCid(b []byte, c Cid) []byte {
	if !c.Defined() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = append(b, c.String()...)
	return append(b, '"')
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	b = append(b, '"')
	out, err := t.AppendText(b)
	if err != nil {
		return b, err
	}
	return append(out, '"'), nil
}

func (e *Encoder) appendAddrs(b []byte, list []Multiaddr) []byte {
	switch {
	case list == nil:
		return append(b, "null"...)
	case len(list) == 0:
		return append(b, "[]"...)
	}
	for _, known := range e.addrs {
		if known.first == &list[0] && known.n == len(list) {
			return append(b, known.text...)
		}
	}
	text := []byte{'['}
	for i, m := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendString(text, m.String())
	}
	text = append(text, ']')
	if len(e.addrs) == maxAddrTexts {
		e.addrs = e.addrs[:0] // of pages gone by
	}
	e.addrs = append(e.addrs, addrsText{&list[0], len(list), text})
	return append(b, text...)
}

func appendMap(b []byte, m map[string]string) []byte {
	switch {
	case m == nil:
		return append(b, "null"...)
	case len(m) == 0:
		return append(b, "{}"...)
	}
	return appendAny(b, m)
}

// appendString appends s quoted. Text that needs no escapes, which is nearly all, is
// copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendAny(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendAny leaves v, strings only, to encoding/json. It cannot fail with those.
func appendAny(b []byte, v any) []byte {
	return append(b, must(json.Marshal(v))...)
}
