package feed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/pinfold-cluster/pinfold/api"
)

func followerID(n int) api.PeerID {
	key := append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, fmt.Sprintf("%32d", n)...)
	p, err := peer.IDFromBytes(key)
	if err != nil {
		panic(err)
	}
	return p
}

// A crowd is many followers of one pinset, each with what it has taken. Parts of ranges
// are left out: they only add.
type crowd struct {
	pins      []api.Pin
	z         *sizes
	followers []*taken
	ids       []api.PeerID
	waits     map[api.PeerID]*[shareRanges]float64
	claims    Claims
	born      int
	clock     time.Time
}

// newCrowd has pins of sizes spread as those of files are (log-normal), each follower one
// part in parts of their bytes.
func newCrowd(t *testing.T, pins, parts int) *crowd { return newCrowdOf(t, pins, parts, 1) }

// newCrowdOf is newCrowd with so wide a spread of sizes, 1 being that of files.
func newCrowdOf(t *testing.T, pins, parts int, spread float64) *crowd {
	c := &crowd{waits: map[api.PeerID]*[shareRanges]float64{}, clock: time.Unix(1_800_000_000, 0)}
	r := rand.New(rand.NewPCG(5, 6))
	sum := uint64(0)
	for n := range pins {
		p := pagePin(n, "")
		p.Size = uint64(1 + 1e6*math.Exp(spread*r.NormFloat64()))
		sum += p.Size
		c.pins = append(c.pins, p)
	}
	c.measure(t, sum/uint64(parts))
	return c
}

func (c *crowd) measure(t *testing.T, capacity uint64) {
	var err error
	c.z, err = (&taken{}).measure(t.Context(), func(yield func(api.Pin, error) bool) {
		for _, p := range c.pins {
			if !yield(p, nil) {
				return
			}
		}
	}, capacity)
	check(t, err)
}

// update fits one follower.
func (c *crowd) update(i int, w *[shareRanges]float64) {
	next, _ := c.followers[i].fit(c.z, preference(c.waits[c.ids[i]], w))
	c.followers[i] = &next
	c.clock = c.clock.Add(time.Second)
	c.claims.Set(claimed(c.ids[i], next.whole, c.clock, Proven))
}

// hold has members find that a follower holds so much of what it has taken.
func (c *crowd) hold(i, percent int) {
	c.clock = c.clock.Add(time.Second)
	c.claims.Set(Claimed{Peer: c.ids[i], Claim: c.followers[i].whole, At: c.clock, Standing: Proven, Held: uint8(percent), Looked: c.clock})
}

// join adds n followers, who all read the table that is there.
func (c *crowd) join(n int, table bool) {
	w := weights(nil)
	if table {
		t := c.claims.Coverage(c.clock, Proven)
		w = weights(&t)
	}
	c.z.raise(&w)
	for range n {
		id := followerID(c.born)
		c.born++
		c.waits[id] = waits(id)
		c.ids = append(c.ids, id)
		c.followers = append(c.followers, &taken{Part: -1})
		c.update(len(c.ids)-1, &w)
	}
}

func (c *crowd) leave(n int) {
	r := rand.New(rand.NewPCG(7, 8))
	for range n {
		i := r.IntN(len(c.ids))
		c.claims.Set(claimed(c.ids[i], Claim{}, c.clock, Withdrawn))
		c.ids = slices.Delete(c.ids, i, i+1)
		c.followers = slices.Delete(c.followers, i, i+1)
	}
}

// copies are the fewest, most and mean copies of a pin.
func (c *crowd) copies() (least, most int, mean float64) {
	var counts [shareRanges]int
	for _, f := range c.followers {
		for _, r := range f.Whole {
			counts[r]++
		}
	}
	least = math.MaxInt
	for _, p := range c.pins {
		n := counts[rangeOf(p.Cid)]
		least, most, mean = min(least, n), max(most, n), mean+float64(n)
	}
	return least, most, mean / float64(len(c.pins))
}

func (c *crowd) wantEven(t *testing.T, when string, part float64) {
	t.Helper()
	least, most, mean := c.copies()
	t.Logf("%s: %d to %d copies, %.2f on average", when, least, most, mean)
	if float64(least) < part*mean {
		t.Errorf("%s, a pin has %d copies, the mean is %.2f", when, least, mean)
	}
}

// The promise of shares: many small volunteers cover the set evenly.
func TestShares_OfAThousandCoverEvenly(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 10_000, 100)
	for range 20 { // 50 come while one table stands
		c.join(50, true)
	}
	c.wantEven(t, "1,000 followers of one percent", 0.5)
	c.leave(200)
	c.wantEven(t, "a fifth of them gone", 0.2)
	for range 4 {
		c.join(50, true)
	}
	c.wantEven(t, "as many others come", 0.5)
}

// Nor do pins lose that are nearly as large as a share: there are some of 0.98 of one here.
func TestShares_OfPinsAsLargeAsThey(t *testing.T) {
	t.Parallel()
	c := newCrowdOf(t, 10_000, 100, 2)
	c.pins = slices.DeleteFunc(c.pins, func(p api.Pin) bool { return c.z.bytes[rangeOf(p.Cid)] > c.z.capacity }) // which are in no share whole
	c.measure(t, c.z.capacity)
	for range 20 {
		c.join(50, true)
	}
	c.wantEven(t, "1,000 followers of one percent", 0.6)
}

// What one has taken counts for others once it is fetched: until then those who come take
// it, too.
func TestShares_AreEvenThoughFetchingTakesTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fetch int // while so many times 50 come
		part  float64
	}{{5, 0.5}, {20, 0.25}} {
		c := newCrowd(t, 10_000, 100)
		for range 20 {
			c.join(50, true)
			for i := range c.ids {
				c.hold(i, min(100, 100*(len(c.ids)-i)/(50*tt.fetch)))
			}
		}
		c.wantEven(t, fmt.Sprintf("fetching takes until %d have come", 50*tt.fetch), tt.part)
	}
}

// What is lost without what makes it so.
func TestShares_Otherwise(t *testing.T) {
	t.Parallel()
	t.Run("without a table", func(t *testing.T) {
		c := newCrowd(t, 2000, 10)
		c.join(100, false)
		c.wantEven(t, "100 followers of ten percent", 0.05)
	})
	t.Run("a rush", func(t *testing.T) {
		c := newCrowd(t, 2000, 10)
		for range 4 { // each time as many again as were there, or a quarter
			c.join(25, true)
		}
		c.wantEven(t, "in four rushes", 0.3)
	})
	t.Run("some claim everything", func(t *testing.T) {
		c := newCrowd(t, 2000, 10)
		for n := range 50 {
			c.claims.Set(claimed(followerID(1000+n), ClaimAll(), c.clock, Proven))
		}
		for range 20 {
			c.join(5, true)
		}
		c.wantEven(t, "among 50 liars", 0.5)
	})
	t.Run("some claim what shall be thin, and prove nothing", func(t *testing.T) {
		c := newCrowd(t, 2000, 10)
		var low Claim
		for r := range shareRanges / 8 {
			low.add(r)
		}
		for n := range 50 {
			c.claims.Set(claimed(followerID(1000+n), low, c.clock, Said))
		}
		for range 20 {
			c.join(5, true)
		}
		c.wantEven(t, "among 50 liars", 0.5)
	})
	t.Run("some claim what shall be thin, and hold a tenth", func(t *testing.T) {
		for _, tt := range []struct {
			liars int
			part  float64
		}{{10, 0.5}, {50, 0.25}} { // the copies that the liars have left out
			c := newCrowd(t, 2000, 10)
			var low Claim
			for r := range shareRanges / 8 {
				low.add(r)
			}
			for n := range tt.liars {
				c.claims.Set(Claimed{Peer: followerID(1000 + n), Claim: low, At: c.clock, Standing: Proven, Held: 10, Looked: c.clock})
			}
			for range 20 {
				c.join(5, true)
			}
			c.wantEven(t, fmt.Sprintf("among %d liars", tt.liars), tt.part)
		}
	})
	t.Run("the pinset grows", func(t *testing.T) {
		c := newCrowd(t, 2000, 1)
		c.join(100, false) // all hold all
		capacity := c.z.capacity
		for step := range 12 { // down to a tenth
			c.measure(t, uint64(float64(capacity)*math.Pow(10, -float64(step+1)/12)))
			var w [shareRanges]float64
			for i := range c.ids {
				if i%10 == 0 { // tables come out all the while
					t := c.claims.Coverage(c.clock, Proven)
					w = weights(&t)
					c.z.raise(&w)
				}
				c.update(i, &w)
			}
		}
		c.wantEven(t, "what grew tenfold", 0.3)
	})
}
