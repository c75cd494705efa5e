package feed

import (
	"testing"
	"time"
)

// Who finds no place with a member learns from it where the log ends.
func TestFollower_RefusedKnowsHowFarItIsBehind(t *testing.T) {
	w := emptyWorld(t)
	w.rooms = 1
	w.addMember()
	w.pin(0, 20)
	w.intrude().greet(t, w.members[0].host)
	f := w.follow(FollowerOptions{})
	eventually(t, "it knows where the log ends", func() bool { return f.Status().Latest == w.index })
	s := f.Status()
	if len(s.Neighbours) > 0 || s.Index > 0 || s.Current(time.Now(), time.Hour) {
		t.Errorf("one without a place says: %+v", s)
	}
}
