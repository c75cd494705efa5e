package pinner

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/allocator"
	"github.com/pinfold-cluster/pinfold/api"
)

// A view is what a group of decisions knows of the peers. What they give out is taken
// off it as they go; it is used by one goroutine.
type view struct {
	now     time.Time
	members []api.PeerID // sorted
	// able live, and their room is known.
	able []allocator.Peer
	// resting may keep what they hold, but their room is not known: they have been gone
	// for less than the grace, or were not measured yet.
	resting []allocator.Peer
	lost    []api.PeerID // gone for longer
	alive   []api.PeerID // sorted
	fresh   []api.PeerID // have come a moment ago, and are not measured yet
}

// look takes a view of the peers now. Who they are is what the state says; one that
// no metric tells of yet rests.
func (p *Pinner) look(now time.Time) (*view, error) {
	members, err := p.members.get(p.pins, now)
	if err != nil {
		return nil, err
	}
	v := &view{now: now, members: members}
	health := p.peers.Health()
	for _, id := range members {
		i := slices.IndexFunc(health, func(h api.PeerHealth) bool { return h.ID == id })
		if i < 0 {
			v.resting = append(v.resting, allocator.Peer{ID: id, ReadOnly: true})
			v.fresh = append(v.fresh, id)
			continue
		}
		h := &health[i]
		if h.Alive {
			v.alive = append(v.alive, id)
		}
		if h.Alive && !h.Measured && now.Sub(h.Since) < p.o.Settle {
			v.fresh = append(v.fresh, id)
		}
		switch {
		case h.Alive && h.Measured:
			bytes, pins := p.promises.since(id, h.Index)
			v.able = append(v.able, allocator.Peer{ID: id, Tags: h.Tags, Free: h.Free - bytes, Pending: h.Pending + pins, ReadOnly: h.ReadOnly})
		case h.Alive || now.Sub(h.Since) < p.o.Grace:
			v.resting = append(v.resting, allocator.Peer{ID: id, Tags: h.Tags, ReadOnly: true})
		default:
			v.lost = append(v.lost, id)
		}
	}
	return v, nil
}

// membersAge is how old the members that decisions know of may be. A peer removed
// meanwhile is looked for again by repair.
const membersAge = 250 * time.Millisecond

// members are those of the state, read at most a few times a second.
type members struct {
	mu  sync.Mutex
	at  time.Time
	ids []api.PeerID // sorted, never changed
}

func (m *members) get(pins Pinset, now time.Time) ([]api.PeerID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age := now.Sub(m.at); m.ids != nil && age >= 0 && age < membersAge {
		return m.ids, nil
	}
	return m.readLocked(pins, now)
}

// read is get, past what is remembered.
func (m *members) read(pins Pinset, now time.Time) ([]api.PeerID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readLocked(pins, now)
}

func (m *members) readLocked(pins Pinset, now time.Time) ([]api.PeerID, error) {
	list, err := pins.Members()
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	ids := make([]api.PeerID, len(list))
	for i, member := range list {
		ids[i] = member.ID
	}
	slices.Sort(ids)
	m.ids, m.at = ids, now
	return ids, nil
}

// candidates are the peers to choose from for a pin that present hold.
func (v *view) candidates(present []api.PeerID) []allocator.Peer {
	peers := v.able
	for _, r := range v.resting {
		if slices.Contains(present, r.ID) {
			peers = append(peers[:len(peers):len(peers)], r)
		}
	}
	return peers
}

// only returns those of peers that are members.
func (v *view) only(peers []api.PeerID) []api.PeerID {
	var out []api.PeerID
	for _, p := range peers {
		if _, ok := slices.BinarySearch(v.members, p); ok {
			out = append(out, p)
		}
	}
	return out
}

// known fails for peers that the cluster does not have, and with Unavailable for one
// that has come a moment ago: who names it wants no other.
func (p *Pinner) known(peers []api.PeerID, v *view) error {
	for _, id := range peers {
		if _, ok := slices.BinarySearch(v.members, id); !ok {
			members, err := p.members.read(p.pins, v.now) // v may be a little old
			if err != nil {
				return err
			}
			if _, ok := slices.BinarySearch(members, id); !ok {
				return api.Invalid.Errorf("user allocation %s is not a peer of this cluster", id)
			}
			v.fresh = append(v.fresh, id)
		}
		if slices.Contains(v.fresh, id) {
			return api.Unavailable.Errorf("peer %s has just come: its free space is not known yet", id)
		}
	}
	return nil
}

// promise takes pin off the room of the holders that it did not have before.
func (v *view) promise(pin api.Pin, had []api.PeerID, mean uint64) {
	size := pin.Size
	if size == 0 {
		size = mean
	}
	for i := range v.able {
		peer := &v.able[i]
		if slices.Contains(pin.Allocations, peer.ID) && !slices.Contains(had, peer.ID) {
			peer.Free -= int64(size)
			peer.Pending++
		}
	}
}

// kept returns those of peers that are members and not given up.
func (v *view) kept(peers []api.PeerID) []api.PeerID {
	return slices.DeleteFunc(v.only(peers), func(p api.PeerID) bool { return slices.Contains(v.lost, p) })
}

// below tells whether too few of pin's holders live, the first that does not being
// dead, "" where all do: each pin is counted with one peer.
func (v *view) below(pin api.Pin, dead api.PeerID) bool {
	living, first := 0, api.PeerID("")
	for _, p := range pin.Allocations {
		if slices.Contains(v.alive, p) {
			living++
		} else if first == "" {
			first = p
		}
	}
	return living < pin.ReplicationFactorMin && first == dead
}
