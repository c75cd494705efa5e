package feed

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

func TestFollower_HasWhatTheMembersHave(t *testing.T) {
	w := newWorld(t, 3)
	w.pin(0, 50)
	list := []*follower{w.follow(FollowerOptions{}), w.follow(FollowerOptions{})}
	w.same(list...)
	w.pin(50, 60)
	w.commit(edit{put: []int{3}, name: "renamed", remove: []int{4, 5}})
	w.same(list...)
}

// Whatever happens on the way, at the same index a follower has what the members have.
func TestFollower_AfterAnything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FEED_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		check(t, err)
	}
	t.Logf("FEED_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 3)
	w.ring = 20 << 10
	w.pin(0, 300)
	o := FollowerOptions{Patience: time.Second}
	var list []*follower
	for range 3 {
		list = append(list, w.follow(o))
	}
	w.same(list...)
	running := map[*follower]bool{}
	for _, f := range list {
		running[f] = true
	}
	next := 300
	for range 60 {
		f := list[random.IntN(len(list))]
		switch random.IntN(9) {
		case 0:
			f.cut()
		case 1:
			if running[f] {
				f.stop()
			} else {
				f.start()
			}
			running[f] = !running[f]
		case 2:
			f.loss.Store(int32(random.IntN(101)))
		case 3:
			w.leader.Store(int32(random.IntN(len(w.members))))
		case 4:
			w.commit(edit{put: []int{random.IntN(next)}, name: strconv.Itoa(next), remove: []int{random.IntN(next)}})
			// The log may come back to a pinset that it has had before.
			w.commit(edit{put: []int{next + 1000}})
			w.commit(edit{remove: []int{next + 1000}})
		case 5:
			if running[f] {
				w.sameIndex(f)
				w.same(f) // gossip lost or not
			}
		case 6:
			if len(list) < 6 {
				f := w.follow(o)
				list, running[f] = append(list, f), true
			}
		default:
			n := 1 + random.IntN(20)
			w.pin(next, next+n)
			next += n
		}
	}
	for _, f := range list {
		f.loss.Store(0)
		if !running[f] {
			f.start()
		}
	}
	w.same(list...)
	for _, f := range list {
		check(t, f.st.Verify(t.Context()))
	}
}
