package pintracker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestTracker_UnpinsOnlyWhileCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Exclusive: true})
		kept, gone := pinOf(numbered(1), me), pinOf(numbered(2), me)
		leftover := numbered(3)
		r.node.pinned[leftover] = api.PinRecursive
		r.answer(api.Unavailable.Errorf("no leader"))
		r.start()
		defer r.stop()
		r.pin(kept)
		r.pin(gone)
		time.Sleep(time.Second)
		r.unpin(gone.Cid)
		r.unpin(kept.Cid)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.node.unpins) != 0 {
			t.Fatal("unpinned on a peer whose state may be old")
		}
		if info := r.want(gone.Cid, api.StatusUnpinQueued); info.AttemptCount != 0 || info.Error != "" {
			t.Fatalf("waiting counted as a failure: %+v", info.PinInfoShort)
		}
		r.state.put(kept) // the state turns out to have it: nothing told of it
		r.answer(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.want(kept.Cid, api.StatusPinned)
		r.want(gone.Cid, api.StatusUnpinned)
		want := []api.Cid{gone.Cid, leftover}
		slices.SortFunc(want, compare)
		slices.SortFunc(r.node.unpins, compare)
		if !slices.Equal(r.node.unpins, want) {
			t.Fatalf("unpinned %v, want %v", r.node.unpins, want)
		}
	})
}

func TestTracker_LeavesThePinsOfASharedNodesOwnerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		users, ours, found := numbered(1), pinOf(numbered(2), me), pinOf(numbered(3), me)
		r.node.pinned[users] = api.PinRecursive
		r.node.pinned[found.Cid] = api.PinRecursive
		r.state.put(found)
		r.start()
		r.pin(ours)
		time.Sleep(time.Minute)
		r.stop()
		r.state.remove(ours.Cid) // while it is down
		r.state.remove(found.Cid)
		r.open()
		r.start()
		defer r.stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, ok := r.node.pinned[users]; !ok || len(r.node.pinned) != 1 {
			t.Fatalf("left on the node: %v, want %v only", r.node.pinned, users)
		}
	})
}

func TestTracker_DroppedHolderUnpins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		p := pinOf(numbered(1), me)
		r.start()
		defer r.stop()
		r.pin(p)
		time.Sleep(time.Second)
		p.Allocations, p.Leaving = []api.PeerID{other}, []api.PeerID{me}
		r.pin(p)
		time.Sleep(time.Second)
		r.want(p.Cid, api.StatusPinned)
		p.Leaving = nil
		r.pin(p)
		synctest.Wait()
		r.want(p.Cid, api.StatusRemote)
		if len(r.node.pinned) != 0 {
			t.Fatal("still on the node")
		}
	})
}

func TestTracker_ReloadFindsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Exclusive: true})
		before, after := pinOf(numbered(1), me), pinOf(numbered(2), me)
		r.start()
		defer r.stop()
		r.pin(before)
		synctest.Wait()
		r.state.remove(before.Cid)
		r.state.put(after)
		r.want(after.Cid, api.StatusPinQueued)
		r.Reload()
		synctest.Wait()
		r.want(before.Cid, api.StatusUnpinned)
		r.want(after.Cid, api.StatusPinned)
		if _, ok := r.node.pinned[before.Cid]; ok {
			t.Fatal("the old pin is still on the node")
		}
	})
}

// An add pins its root on the node, marked, before the pinset knows of it.
func TestTracker_Marks(t *testing.T) {
	add := func(r *rig, c api.Cid) {
		r.node.set(func() { r.node.pinned[c], r.node.marks[c] = api.PinRecursive, time.Now() })
	}
	tests := []struct {
		name   string
		run    func(r *rig, c api.Cid)
		pinned bool
		marked bool
	}{
		{"kept from a comparison with the state", func(r *rig, c api.Cid) {
			add(r, c)
			r.Reload()
			time.Sleep(50 * time.Minute)
		}, true, true},
		{"gone an hour later", func(r *rig, c api.Cid) {
			add(r, c)
			time.Sleep(80 * time.Minute)
		}, false, false},
		{"kept an hour later where this peer may be behind", func(r *rig, c api.Cid) {
			add(r, c)
			r.answer(api.Unavailable.Errorf("no leader"))
			time.Sleep(80 * time.Minute)
		}, true, true},
		{"taken over by a pin", func(r *rig, c api.Cid) {
			add(r, c)
			time.Sleep(time.Second)
			r.pin(pinOf(c, me))
			time.Sleep(2 * time.Hour)
		}, true, false},
		{"cleared where the pin was not heard of", func(r *rig, c api.Cid) {
			add(r, c)
			r.state.put(pinOf(c, me))
			time.Sleep(2 * time.Hour)
		}, true, false},
		{"gone where others were chosen", func(r *rig, c api.Cid) {
			add(r, c)
			r.pin(pinOf(c, other))
			time.Sleep(80 * time.Minute)
		}, false, false},
		{"no shield from an unpin of the same pin", func(r *rig, c api.Cid) {
			add(r, c)
			time.Sleep(time.Millisecond)
			r.pin(pinOf(c, me))
			r.unpin(c)
			time.Sleep(time.Second)
		}, false, false},
		{"a shield of what is added again from an unpin of before", func(r *rig, c api.Cid) {
			add(r, c)
			r.pin(pinOf(c, me))
			time.Sleep(time.Minute)
			add(r, c)
			time.Sleep(time.Second)
			r.unpin(c)
			time.Sleep(time.Minute)
		}, true, true},
		{"a shield from losing a holder that is added to again", func(r *rig, c api.Cid) {
			p := pinOf(c, me)
			r.pin(p)
			p.Allocations, p.Leaving = []api.PeerID{other}, []api.PeerID{me}
			r.pin(p)
			time.Sleep(time.Minute)
			add(r, c)
			time.Sleep(time.Second)
			p.Leaving = nil
			r.pin(p)
			time.Sleep(time.Minute)
		}, true, true},
		{"gone an hour after the unpin of what was added again", func(r *rig, c api.Cid) {
			r.pin(pinOf(c, me))
			time.Sleep(time.Minute)
			add(r, c)
			r.unpin(c)
			time.Sleep(80 * time.Minute)
		}, false, false},
		{"a shield from an unpin that is older", func(r *rig, c api.Cid) {
			r.pin(pinOf(c, me))
			time.Sleep(time.Second)
			r.answer(api.Unavailable.Errorf("no leader"))
			r.unpin(c)
			time.Sleep(time.Second)
			add(r, c)
			r.answer(nil)
			time.Sleep(time.Minute)
		}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options{Exclusive: true})
				c := numbered(1)
				r.start()
				defer r.stop()
				time.Sleep(time.Minute)
				tt.run(r, c)
				synctest.Wait()
				_, pinned := r.node.pinned[c]
				_, marked := r.node.marks[c]
				if pinned != tt.pinned || marked != tt.marked {
					t.Fatalf("pinned %v, marked %v; want %v, %v", pinned, marked, tt.pinned, tt.marked)
				}
			})
		})
	}
}

func TestTracker_UnpinErrorIsToldAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		c := numbered(1)
		r.start()
		defer r.stop()
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.node.offer(c, content{err: errDown})
		r.unpin(c)
		synctest.Wait()
		if info := r.want(c, api.StatusUnpinError); info.Cause != api.CauseBackendDown || info.Error == "" {
			t.Fatalf("%+v", info.PinInfoShort)
		}
		r.node.mend()
		if _, err := r.Recover(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.want(c, api.StatusUnpinned)
	})
}

// An add of what the owner of a shared node has pinned, whose pin never comes, takes
// nothing away.
func TestTracker_MarkOfAnothersPinGoesAlone(t *testing.T) {
	for _, before := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Options{})
			c := numbered(1)
			r.node.set(func() {
				r.node.pinned[c], r.node.marks[c], r.node.before = api.PinRecursive, time.Now(), before
			})
			r.start()
			defer r.stop()
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			_, pinned := r.node.pinned[c]
			if _, marked := r.node.marks[c]; pinned != before || marked {
				t.Fatalf("pinned before: %v; pinned %v, marked %v", before, pinned, marked)
			}
		})
	}
}
