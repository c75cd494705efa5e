package state

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
)

// A ledger is what is replicated besides the pins. All of it is in the database, and
// in memory too: it is small, and each change of a pin asks for it. The values of its
// maps are not changed once they are there.
type ledger struct {
	sessions    map[api.PeerID]session
	members     map[api.PeerID]api.Member
	removed     map[api.PeerID]struct{}
	credentials map[string]credential // by nonce
	key         api.ClusterKey
}

// A session is a peer's current one.
type session struct {
	id    uint64
	acked uint64 // requests numbered below it have been answered
	// outcomes are those of requests from acked on, by number.
	outcomes []outcome
}

// An outcome is the log index at which the request numbered seq was applied.
type outcome struct{ seq, index uint64 }

// find tells where the outcome of seq is, or belongs.
func (s session) find(seq uint64) (int, bool) {
	if n := len(s.outcomes); n == 0 || s.outcomes[n-1].seq < seq {
		return n, false // the usual case: requests come in order
	}
	return slices.BinarySearchFunc(s.outcomes, seq, func(o outcome, seq uint64) int {
		return cmp.Compare(o.seq, seq)
	})
}

// with returns s with one more outcome, at i. Outcomes that s has stay as they are:
// appending writes only past its end, and there is one batch at a time.
func (s session) with(i int, o outcome) session {
	if i == len(s.outcomes) {
		s.outcomes = append(s.outcomes, o)
		return s
	}
	s.outcomes = slices.Insert(slices.Clip(s.outcomes), i, o)
	return s
}

func (s session) row() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, s.id), s.acked)
}

func (o outcome) row() []byte { return binary.AppendUvarint(nil, o.index) }

// A credential was used up by peer; after expires, in Unix seconds, nobody could use
// it again anyway.
type credential struct {
	peer    api.PeerID
	expires int64
}

func (c credential) row() []byte {
	return append(binary.AppendVarint(nil, c.expires), c.peer...)
}

// loadLedger reads the whole of it.
func loadLedger(db pebble.Reader) (ledger, error) {
	l := &ledger{
		sessions:    map[api.PeerID]session{},
		members:     map[api.PeerID]api.Member{},
		removed:     map[api.PeerID]struct{}{},
		credentials: map[string]credential{},
	}
	for _, kind := range []struct {
		first byte
		read  func(key, value []byte) bool
	}{
		{sessionKind, l.readSession}, // before their outcomes
		{outcomeKind, l.readOutcome},
		{memberKind, l.readMember},
		{removedKind, func(k, _ []byte) bool { l.removed[api.PeerID(k[1:])] = struct{}{}; return true }},
		{credentialKind, l.readCredential},
		{clusterKeyKind, func(_, v []byte) bool { return api.Decode(v, &l.key) == nil }},
	} {
		err := eachRow(db, []byte{kind.first}, func(k, v []byte) error {
			if !kind.read(k, v) {
				return api.Internal.Errorf("the row %x cannot be read", k)
			}
			return nil
		})
		if err != nil {
			return ledger{}, err
		}
	}
	return *l, nil
}

func (l ledger) readSession(k, v []byte) bool {
	id, n := binary.Uvarint(v)
	if n <= 0 {
		return false
	}
	acked, m := binary.Uvarint(v[n:])
	if m <= 0 || n+m != len(v) {
		return false
	}
	l.sessions[api.PeerID(k[1:])] = session{id: id, acked: acked}
	return true
}

func (l ledger) readOutcome(k, v []byte) bool {
	p, seq, ok := parseOutcomeKey(k)
	s, open := l.sessions[p]
	index, n := binary.Uvarint(v)
	if !ok || !open || n != len(v) || n == 0 {
		return false
	}
	s.outcomes = append(s.outcomes, outcome{seq, index}) // rows come in order of seq
	l.sessions[p] = s
	return true
}

func (l ledger) readMember(k, v []byte) bool {
	var m api.Member
	if err := api.Decode(v, &m); err != nil || string(m.ID) != string(k[1:]) {
		return false
	}
	l.members[m.ID] = m
	return true
}

func (l ledger) readCredential(k, v []byte) bool {
	expires, n := binary.Varint(v)
	if n <= 0 {
		return false
	}
	l.credentials[string(k[1:])] = credential{peer: api.PeerID(v[n:]), expires: expires}
	return true
}

// sortedMembers are the members by ID.
func (l ledger) sortedMembers() []api.Member {
	return slices.SortedFunc(maps.Values(l.members), func(a, b api.Member) int {
		return strings.Compare(string(a.ID), string(b.ID))
	})
}

// Session tells p's current session and the number below which all of its requests
// have been answered.
func (s *State) Session(p api.PeerID) (id, acked uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ses, ok := s.mem.ledger.sessions[p]
	return ses.id, ses.acked, ok
}

// Outcome tells the log index at which request seq of p's session was applied. It is
// not ok where the request has not come, was answered before (seq below acked), or
// the session has ended.
func (s *State) Outcome(p api.PeerID, session, seq uint64) (index uint64, ok bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ses, open := s.mem.ledger.sessions[p]
	if !open || ses.id != session {
		return 0, false, nil
	}
	i, found := ses.find(seq)
	if !found {
		return 0, false, nil
	}
	return ses.outcomes[i].index, true, nil
}

// Members lists the members by ID. What they point to is shared: change nothing.
func (s *State) Members() ([]api.Member, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.mem.members), nil
}

// Used tells whether the credential of nonce was used up and has not been forgotten.
func (s *State) Used(nonce []byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.mem.ledger.credentials[string(nonce)]
	return ok
}

// Removed tells whether p was a member and was removed.
func (s *State) Removed(p api.PeerID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.mem.ledger.removed[p]
	return ok
}

// Key is the cluster's key as far as the log has it. What it points to is shared: change
// nothing.
func (s *State) Key() api.ClusterKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.ledger.key
}
