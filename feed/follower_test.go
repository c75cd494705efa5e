package feed

import (
	"testing"
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
