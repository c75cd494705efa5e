package api

import (
	"encoding/json"
	"strconv"
	"time"
)

// PinEncoder appends the JSON of pins: what encoding/json makes of them, byte for
// byte, several times as fast. It remembers the text of peer IDs, so one serves a
// whole list. It is for one goroutine.
type PinEncoder struct {
	peers map[PeerID][]byte
}

// maxPeerTexts bounds what a PinEncoder remembers.
const maxPeerTexts = 1024

// NewPinEncoder returns a PinEncoder that knows no peer yet.
func NewPinEncoder() *PinEncoder { return &PinEncoder{} }

// Append appends p as JSON to b. The error is that of a time without four digits for
// its year; b is then as it was.
func (e *PinEncoder) Append(b []byte, p *Pin) ([]byte, error) {
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
	out = appendRest(out, p.Metadata, p.Metadata == nil)
	out = append(out, `,"pin_update":`...)
	out = appendCid(out, p.PinUpdate)
	out = append(out, `,"origins":`...)
	switch {
	case p.Origins == nil:
		out = append(out, "null"...)
	case len(p.Origins) == 0:
		out = append(out, "[]"...)
	default:
		out = appendRest(out, p.Origins, false)
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
	return append(out, '}'), nil
}

func (e *PinEncoder) appendPeers(b []byte, ids []PeerID) []byte {
	if ids == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
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
		b = append(b, text...)
	}
	return append(b, ']')
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

// appendString appends s quoted. Text that needs no escapes, which is nearly all, is
// copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendRest(b, s, false)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendRest leaves v, a string, a map or list of them, to encoding/json.
func appendRest(b []byte, v any, isNil bool) []byte {
	if isNil {
		return append(b, "null"...)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...) // strings always encode
	}
	return append(b, text...)
}
