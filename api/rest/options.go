package rest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// maxFactor is more copies than anybody means.
	maxFactor = 1000
	// maxCidBytes leaves room for any hash in use and for short identity ones.
	maxCidBytes = 256
	// recordRoom is what a record takes, in bytes, beyond its texts and lists.
	recordRoom = 512
	// peerBytes is what a peer ID takes in a record.
	peerBytes = 42
	// maxExpiry is the last year that every time zone can write with four digits.
	maxExpiry = 9998
)

// parseCid reads a CID that is to be pinned or asked for. The error is Invalid.
func parseCid(s string) (api.Cid, error) {
	c, err := api.ParseCid(s)
	if err != nil {
		return api.CidUndef, err
	}
	if c.ByteLen() > maxCidBytes {
		return api.CidUndef, api.Invalid.Errorf("error decoding Cid: it is over %d bytes", maxCidBytes)
	}
	return c, nil
}

// params reads typed parameters of a query and keeps the first thing wrong with them.
type params struct {
	q   url.Values
	err error
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = api.Invalid.Errorf(format, args...)
	}
}

// text reads a parameter that may be given once.
func (p *params) text(name string) string {
	values := p.q[name]
	if len(values) > 1 {
		p.fail("parameter %s is given %d times", name, len(values))
		return ""
	}
	if len(values) == 0 {
		return ""
	}
	if !utf8.ValidString(values[0]) {
		p.fail("parameter %s is not UTF-8", name)
	}
	return values[0]
}

func (p *params) integer(name string) int {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		p.fail("parameter %s invalid", name)
	}
	return n
}

func (p *params) unsigned(name, shown string) uint64 {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		p.fail("parameter %s is invalid", shown)
	}
	return n
}

func (p *params) boolean(name string, absent bool) bool {
	s := p.text(name)
	if s == "" {
		return absent
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		p.fail("parameter %s invalid: %q is neither true nor false", name, s)
	}
	return v
}

// local tells whether only the contacted peer is asked. As with IPFS Cluster no other
// spelling of true does it.
func (p *params) local() bool { return p.boolean("local", false) && p.text("local") == "true" }

// list reads the items of a comma-separated parameter.
func (p *params) list(name string) []string {
	var items []string
	for item := range strings.SplitSeq(p.text(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// PinOptions reads the options of a pin from a query, as this API's requests have them.
// The error is Invalid or TooLarge.
func PinOptions(q url.Values) (api.PinOptions, error) { return pinOptions(q, time.Now()) }

// pinOptions reads the options of a pin and checks them as far as one peer alone can.
// The error is Invalid or TooLarge.
func pinOptions(q url.Values, now time.Time) (api.PinOptions, error) {
	p := &params{q: q}
	var o api.PinOptions
	o.Name = p.text("name")
	if s := p.text("mode"); s != "" {
		mode, err := api.ParsePinMode(s)
		if err != nil {
			p.fail("parameter mode invalid: %w", err)
		}
		o.Mode = mode
	}
	o.ReplicationFactorMin = p.integer("replication-min")
	o.ReplicationFactorMax = p.integer("replication-max")
	if p.text("replication") != "" {
		n := p.integer("replication")
		if n == 0 {
			p.fail("parameter replication invalid: it must be -1 (everywhere) or at least 1")
		}
		o.ReplicationFactorMin, o.ReplicationFactorMax = n, n
	}
	o.ShardSize = p.unsigned("shard-size", "shard_size")
	for _, s := range p.list("user-allocations") {
		id, err := api.ParsePeerID(s)
		if err != nil {
			p.fail("parameter user-allocations invalid: %w", err)
			break
		}
		o.UserAllocations = append(o.UserAllocations, id)
	}
	for _, s := range p.list("follower-allocations") {
		id, err := api.ParsePeerID(s)
		if err != nil {
			p.fail("parameter follower-allocations invalid: %w", err)
			break
		}
		o.Followers = append(o.Followers, id)
	}
	o.ExpireAt = p.expiry(now)
	for key := range q {
		if name, ok := strings.CutPrefix(key, "meta-"); ok && name != "" {
			if o.Metadata == nil {
				o.Metadata = map[string]string{}
			}
			o.Metadata[name] = p.text(key)
		}
	}
	if s := p.text("pin-update"); s != "" {
		c, err := parseCid(s)
		if err != nil {
			p.fail("parameter pin-update invalid: %w", err)
		}
		o.PinUpdate = c
	}
	for _, s := range p.list("origins") {
		m, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			p.fail("error decoding multiaddress: %w", err)
			break
		}
		o.Origins = append(o.Origins, m)
	}
	if p.err != nil {
		return api.PinOptions{}, p.err
	}
	return o, checkOptions(o, now)
}

// expiry reads when a pin ends: expire-at, or expire-in from now.
func (p *params) expiry(now time.Time) time.Time {
	at, in := p.text("expire-at"), p.text("expire-in")
	if at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			p.fail("parameter expire-at invalid: %w", err)
		}
		return t
	}
	if in == "" {
		return time.Time{}
	}
	d, err := time.ParseDuration(in)
	if err != nil {
		p.fail("parameter expire-in invalid: %w", err)
		return time.Time{}
	}
	if d < time.Second {
		p.fail("expire-in duration too short")
	}
	return now.Add(d)
}

// checkOptions refuses what no cluster could do: the error is Invalid, or TooLarge
// for more than a record holds.
func checkOptions(o api.PinOptions, now time.Time) error {
	lo, hi := o.ReplicationFactorMin, o.ReplicationFactorMax
	for _, f := range []struct {
		name  string
		value int
	}{{"replication-min", lo}, {"replication-max", hi}} {
		if f.value < -1 || f.value > maxFactor {
			return api.Invalid.Errorf("parameter %s invalid: %d is not -1 (everywhere) or 1 to %d", f.name, f.value, maxFactor)
		}
	}
	if lo > 0 && hi > 0 && lo > hi {
		return api.Invalid.Errorf("cluster.replication_factor_min is larger than max: at least %d copies are asked for, and at most %d", lo, hi)
	}
	if lo < 0 && hi > 0 || lo > 0 && hi < 0 {
		return api.Invalid.Errorf("replication-min and replication-max must both be -1 or neither")
	}
	if p := (api.Pin{PinOptions: o}); p.Expires() {
		if p.ExpiredAt(now) {
			return api.Invalid.Errorf("pin.ExpireAt set before current time")
		}
		if o.ExpireAt.UTC().Year() > maxExpiry {
			return api.Invalid.Errorf("parameter expire-at invalid: it is after the year %d", maxExpiry)
		}
	}
	size := recordRoom + len(o.Name) + peerBytes*(len(o.UserAllocations)+len(o.Followers))
	if !utf8.ValidString(o.Name) {
		return api.Invalid.Errorf("the name is not UTF-8")
	}
	for k, v := range o.Metadata {
		if k == "" {
			return api.Invalid.Errorf("a metadata key is empty")
		}
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return api.Invalid.Errorf("metadata %q is not UTF-8", k)
		}
		size += len(k) + len(v) + 8
	}
	if slices.Contains(o.UserAllocations, "") || slices.Contains(o.Followers, "") {
		return api.Invalid.Errorf("a user or follower allocation is empty")
	}
	for _, m := range o.Origins {
		if _, err := m.ValueForProtocol(multiaddr.P_P2P); err != nil {
			return api.Invalid.Errorf("multiaddress does not contain peer ID: %s", m)
		}
		size += len(m.Bytes()) + 4
	}
	if size > api.MaxRecordSize {
		return api.TooLarge.Errorf("name, metadata, origins and allocations take %d bytes; a pin has %d", size, api.MaxRecordSize)
	}
	return nil
}
