package feed

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
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

// A Claimed is the claim of one follower.
type Claimed struct {
	Peer  api.PeerID `cbor:"1,keyasint"`
	Claim Claim      `cbor:"2,keyasint"`
	At    time.Time  `cbor:"3,keyasint"` // when it was made
}

// maxClaims bounds the followers whose claims are kept: 9 MB of them.
const maxClaims = 1 << 14

// Claims are the latest ones of followers, as a member knows them. Members that give
// each other theirs (Since, Set) count every follower once. The zero value is ready. It
// is safe for concurrent use.
type Claims struct {
	mu  sync.Mutex
	all map[api.PeerID]Claimed
}

// Set keeps a claim unless a later one of its peer is known. Beyond 16,384 peers the
// oldest claim goes.
func (s *Claims) Set(c Claimed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[api.PeerID]Claimed{}
	}
	had, known := s.all[c.Peer]
	if known && !c.At.After(had.At) {
		return
	}
	s.all[c.Peer] = c
	if len(s.all) <= maxClaims {
		return
	}
	oldest := c
	for _, c := range s.all {
		if c.At.Before(oldest.At) {
			oldest = c
		}
	}
	delete(s.all, oldest.Peer)
}

// Forget drops the claim of p: it failed a challenge, or left.
func (s *Claims) Forget(p api.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, p)
}

// Prune drops the claims made before t.
func (s *Claims) Prune(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, c := range s.all {
		if c.At.Before(t) {
			delete(s.all, p)
		}
	}
}

// Since gives the claims made at t or later, in no order.
func (s *Claims) Since(t time.Time) (list []Claimed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		if !c.At.Before(t) {
			list = append(list, c)
		}
	}
	return list
}

// Coverage counts the claims.
func (s *Claims) Coverage(now time.Time) Coverage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts [shareRanges]uint32
	for _, c := range s.all {
		for i := 0; i < len(c.Claim); i += 8 {
			for word := binary.LittleEndian.Uint64(c.Claim[i:]); word != 0; word &= word - 1 {
				counts[8*i+bits.TrailingZeros64(word)]++
			}
		}
	}
	t := Coverage{Time: now.Unix(), Followers: uint64(len(s.all)), Counts: make([]byte, 0, 2*shareRanges)}
	for _, n := range counts {
		t.Counts = binary.BigEndian.AppendUint16(t.Counts, uint16(min(n, math.MaxUint16)))
	}
	return t
}

// Coverage tells how many followers claim each range. Members sign its CBOR, of some
// 8 KiB.
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

// Copies is how many followers claim the range in which the pin of that CID lies.
func (t Coverage) Copies(c api.Cid) int { return t.count(rangeOf(c)) }

func (t Coverage) count(r int) int { return int(binary.BigEndian.Uint16(t.Counts[2*r:])) }
