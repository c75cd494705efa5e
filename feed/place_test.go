package feed

import "testing"

// A follower has no place, as another has it. That leaves, and nobody is left to this one:
// it asks a member again within seconds, gets the place, and has what is written then.
func TestFollower_GetsThePlaceThatFrees(t *testing.T) {
	w := emptyWorld(t)
	w.rooms = 1
	m := w.addMember()
	w.pin(0, 100)
	has := func(f *follower) func() bool {
		return func() bool {
			guests := m.host.Guests()
			return len(guests) == 1 && guests[0] == f.id.ID
		}
	}
	first := w.follow(FollowerOptions{})
	w.same(first)
	eventually(t, "the place is taken", has(first))
	second := w.follow(FollowerOptions{})
	w.same(second)
	eventually(t, "the member, which refused it, has sent it to the other", func() bool {
		n := second.Status().Neighbours
		return len(n) == 1 && n[0].ID == first.id.ID
	})
	if !has(first)() {
		t.Fatal("who had the place has lost it")
	}

	first.stop()
	eventually(t, "the place is the other's", has(second))
	w.pin(100, 200)
	w.same(second)
}
