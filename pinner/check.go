package pinner

import (
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxCopies bounds replication factors, so that a record's list of holders stays
// within its size.
const maxCopies = 256

// maxCidSize bounds the bytes of a CID, which is the key of its record.
const maxCidSize = 256

// maxExpiry is the last second that the state can tell from "never".
var maxExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func checkFactors(low, high int) error {
	switch {
	case low == -1 && high == -1:
		return nil
	case low < -1 || high < -1 || low == 0 || high == 0:
		return api.Invalid.Errorf("replication factors %d and %d: each must be -1 or positive", low, high)
	case low < 0 || high < 0:
		return api.Invalid.Errorf("replication factors %d and %d: both must be -1 or both positive", low, high)
	case low > high:
		return api.Invalid.Errorf("cluster.replication_factor_min is larger than max")
	case high > maxCopies:
		return api.Invalid.Errorf("replication factor %d is above %d; use -1 for everywhere", high, maxCopies)
	}
	return nil
}

// factors fills in what a request leaves to the cluster. A default gives way to the
// other factor where the request names that one.
func factors(low, high int, o Options) (int, int, error) {
	switch {
	case low == 0 && high == 0:
		low, high = o.ReplicationFactorMin, o.ReplicationFactorMax
	case high == 0 && low > 0:
		high = max(low, o.ReplicationFactorMax)
	case high == 0:
		high = low
	case low == 0 && high > 0 && o.ReplicationFactorMin > 0:
		low = min(high, o.ReplicationFactorMin)
	case low == 0:
		low = high
	}
	return low, high, checkFactors(low, high)
}

// checkPin checks what a request says by itself, whatever the state holds.
func checkPin(p api.Pin, now time.Time) error {
	if n := p.Cid.ByteLen(); n > maxCidSize {
		return api.TooLarge.Errorf("the CID has %d bytes, more than %d", n, maxCidSize)
	}
	if p.Type > api.PinShard {
		return api.Invalid.Errorf("unknown pin type %d", p.Type)
	}
	if p.Mode > api.PinDirect {
		return api.Invalid.Errorf("unknown pin mode %d", p.Mode)
	}
	if p.Expires() && (p.ExpireAt.Before(now) || p.ExpireAt.After(maxExpiry)) {
		return api.Invalid.Errorf("pin.ExpireAt set before current time")
	}
	if p.Size > math.MaxInt64 {
		return api.Invalid.Errorf("size %d is too large", p.Size)
	}
	if slices.Contains(p.Followers, "") {
		return api.Invalid.Errorf("a follower allocation is empty")
	}
	if len(p.Followers) > maxCopies {
		return api.Invalid.Errorf("%d follower allocations are too many; at most %d are allowed", len(p.Followers), maxCopies)
	}
	return checkWords(p)
}

// checkWords checks that what p says in words is text, which is all that peers can send
// one another and a record can keep.
func checkWords(p api.Pin) error {
	for _, r := range p.Requests {
		if !utf8.ValidString(r.ID) {
			return api.Invalid.Errorf("the ID of a pin request is not valid UTF-8")
		}
		if err := checkTexts(r.Name, r.Metadata, r.Origins); err != nil {
			return err
		}
	}
	return checkTexts(p.Name, p.Metadata, p.Origins)
}

// checkTexts refuses what a record could not keep.
func checkTexts(name string, metadata map[string]string, origins []api.Multiaddr) error {
	if !utf8.ValidString(name) {
		return api.Invalid.Errorf("the name is not valid UTF-8")
	}
	for k, v := range metadata {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return api.Invalid.Errorf("metadata key %q: key and value must be valid UTF-8, the key not empty", k)
		}
	}
	for _, o := range origins {
		if len(o) == 0 {
			return api.Invalid.Errorf("an origin is empty")
		}
	}
	return nil
}

// checkRecord checks that p fits into a record.
func checkRecord(p api.Pin) error {
	if approximateSize(p) < api.MaxRecordSize/4 {
		return nil
	}
	b, err := api.Encode(p)
	if err != nil {
		return api.Invalid.Errorf("encode pin: %w", err)
	}
	if len(b) > api.MaxRecordSize {
		return api.TooLarge.Errorf("the pin's record has %d bytes, more than %d: shorten name, metadata or origins", len(b), api.MaxRecordSize)
	}
	return nil
}
