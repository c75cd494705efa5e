package feed

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Claim is what a follower says it holds whole: a bit for each range of the pinset,
// the first range in the lowest bit of the first byte.
type Claim [shareRanges / 8]byte

// ClaimAll is the claim of a follower that holds everything.
func ClaimAll() (c Claim) {
	for i := range c {
		c[i] = 0xff
	}
	return c
}

func (c *Claim) add(r int) { c[r/8] |= 1 << (r % 8) }

// Has tells whether the range is claimed in which the pin of that CID lies.
func (c Claim) Has(id api.Cid) bool { return c.has(rangeOf(id)) }

func (c *Claim) has(r int) bool { return c[r/8]&(1<<(r%8)) != 0 }

// Coverage counts the copies in each range, by the claims of followers that stand at least
// as high as that: with Proven each claim counts as far as its follower was found to hold
// it, with Said all count in full.
func (s *Claims) Coverage(now time.Time, least Standing) Coverage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var percent [shareRanges]uint32
	followers := uint64(0)
	for _, c := range s.all {
		if c.Standing < least {
			continue
		}
		followers++
		weight := uint32(100)
		if least == Proven {
			weight = uint32(c.Held)
		}
		for i := 0; i < len(c.Claim); i += 8 {
			for word := binary.LittleEndian.Uint64(c.Claim[i:]); word != 0; word &= word - 1 {
				percent[8*i+bits.TrailingZeros64(word)] += weight
			}
		}
	}
	t := Coverage{Time: now.Unix(), Followers: followers, Counts: make([]byte, 0, 2*shareRanges)}
	for _, n := range percent {
		t.Counts = binary.BigEndian.AppendUint16(t.Counts, uint16(min((n+50)/100, math.MaxUint16)))
	}
	return t
}

// Coverage tells how many copies followers have of each range. Members sign its CBOR, of
// some 8 KiB.
type Coverage struct {
	Time      int64  `cbor:"1,keyasint"` // when they were counted, in Unix seconds
	Followers uint64 `cbor:"2,keyasint"`
	Counts    []byte `cbor:"3,keyasint"` // for each range two bytes, big endian; 65,535 and more are that
}

// ParseCoverage reads what a member signed. The error is Invalid.
func ParseCoverage(b []byte) (t Coverage, err error) {
	if len(b) > 3*shareRanges {
		return Coverage{}, api.Invalid.Errorf("a table of coverage of %d bytes", len(b))
	}
	if err := api.Decode(b, &t); err != nil {
		return Coverage{}, err
	}
	if len(t.Counts) != 2*shareRanges {
		return Coverage{}, api.Invalid.Errorf("a table of coverage of %d bytes of counts, not %d", len(t.Counts), 2*shareRanges)
	}
	return t, nil
}

// Copies is how many there are of the range in which the pin of that CID lies.
func (t Coverage) Copies(c api.Cid) int { return t.count(rangeOf(c)) }

func (t Coverage) count(r int) int { return int(binary.BigEndian.Uint16(t.Counts[2*r:])) }
