package consensus

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// writeBytes of entries go into one write to the state, at most about.
const writeBytes = 1 << 20

// Listener is told what the log does to the pinset, in order. Its methods never block.
type Listener interface {
	Track(p api.Pin)   // p is in the pinset as told, with its Revision
	Untrack(p api.Pin) // p, the record as it was, is not in the pinset any more
	Reload()           // everything may be different: a snapshot took the state's place
	// Changed sums up what an entry did, after Track and Untrack of each; the listener
	// changes nothing in it.
	Changed(state.Changes)
}

// A machine applies the log to the state: raft's FSM. Raft calls it from one goroutine.
type machine struct {
	st        *state.State
	listener  Listener
	snapshots *snapshots
	fault     *fault
	// applied is called when the state has moved on to index.
	applied func(index uint64)
	// configured is the index of the last change of raft's configuration in the log.
	configured atomic.Uint64
}

var _ raft.BatchingFSM = (*machine)(nil)

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. It answers each command with its
// []api.Outcome.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	w := m.begin()
	for i, l := range logs {
		var ops []api.Op
		if l.Type == raft.LogCommand {
			var err error
			if ops, err = decodeEntry(l.Data); err != nil {
				m.fault.stop(fmt.Errorf("log entry %d cannot be applied: %w", l.Index, err))
			}
		}
		if l.Type == raft.LogConfiguration {
			m.configured.Store(l.Index)
		}
		if l.Index <= m.st.Applied() {
			out[i] = w.repeat(l.Index, ops) // these come first: nothing is written yet
			continue
		}
		if w.index > 0 && (w.full(l.Index) || admits(ops)) {
			w = m.commit(w)
		}
		if admits(ops) {
			w = m.beginAdmitting(ops)
		}
		out[i] = w.apply(l, ops)
	}
	if w.index > 0 {
		m.commit(w)
	}
	return out
}

// A write is a batch for the state with what to tell once it is there.
type write struct {
	m     *machine
	batch *state.Batch
	index uint64 // of the last entry in it; 0 none
	bytes int
	tell  []func()
	cids  []api.Cid       // whose records the entry at hand has changed
	fresh map[string]bool // credentials in it that nobody had used before
}

// begin starts a write, which ends one that was not committed.
func (m *machine) begin() *write { return &write{m: m, batch: m.st.NewBatch()} }

// full tells whether the entry at index must go into another write: this one is large,
// or the state takes its digest between the two.
func (w *write) full(index uint64) bool {
	return w.bytes >= writeBytes || (w.index-1)/state.DigestEvery != (index-1)/state.DigestEvery
}

// commit makes w part of the state and begins another.
func (m *machine) commit(w *write) *write {
	if err := w.batch.Commit(w.index); err != nil {
		m.fault.stop(fmt.Errorf("write the state at index %d: %w", w.index, err))
	}
	for _, tell := range w.tell {
		tell()
	}
	m.applied(w.index)
	return m.begin()
}

// apply adds the entry at l.Index, which holds ops, to the write.
func (w *write) apply(l *raft.Log, ops []api.Op) []api.Outcome {
	out := make([]api.Outcome, len(ops))
	before := w.batch.Digest().Pins
	w.cids = nil
	for i, op := range ops {
		o, err := w.op(l.Index, op)
		if err != nil {
			w.m.fault.stop(fmt.Errorf("apply log entry %d: %w", l.Index, err))
		}
		out[i] = o
	}
	if err := w.sumUp(l.Index, before); err != nil {
		w.m.fault.stop(fmt.Errorf("apply log entry %d: %w", l.Index, err))
	}
	w.index = l.Index
	w.bytes += len(l.Data)
	return out
}

// sumUp notes what the entry at index did to the pinset, whose digest was before.
func (w *write) sumUp(index uint64, before [32]byte) error {
	if len(w.cids) == 0 {
		return nil
	}
	c := state.Changes{Index: index, Before: before, After: w.batch.Digest().Pins}
	seen := make(map[api.Cid]struct{}, len(w.cids))
	for _, id := range w.cids {
		if _, again := seen[id]; again {
			continue
		}
		seen[id] = struct{}{}
		row, err := w.batch.Row(id)
		if err != nil {
			return err
		}
		c.Rows = append(c.Rows, row)
	}
	w.tell = append(w.tell, func() { w.m.listener.Changed(c) })
	return nil
}

// op applies one change. What becomes of it follows from the state and op alone.
func (w *write) op(index uint64, op api.Op) (api.Outcome, error) {
	if op.Type == api.OpSession {
		return w.session(index, op)
	}
	if op.Session != 0 {
		if o, done, err := answered(w.batch, index, op); done || err != nil {
			return o, err
		}
	}
	status, err := w.change(index, op)
	if k := api.KindOf(err); k == api.Invalid || k == api.TooLarge {
		// The state refuses the record itself, as it does on every peer. Commit checks
		// records, so this takes a leader of another version.
		return api.Outcome{Status: api.OpStale, Index: index}, nil
	}
	if err == nil && status == api.OpApplied && op.Session != 0 {
		err = w.batch.SetOutcome(op.Peer, op.Seq, index, op.Acked)
	}
	return api.Outcome{Status: status, Index: index}, err
}

// answered tells whether the request behind op has its outcome, or can have none.
func answered(b *state.Batch, index uint64, op api.Op) (o api.Outcome, done bool, err error) {
	session, acked, ok := b.Session(op.Peer)
	switch {
	case !ok || session != op.Session:
		return api.Outcome{Status: api.OpNoSession, Index: index}, true, nil
	case op.Seq < acked:
		return api.Outcome{Status: api.OpAnswered, Index: index}, true, nil
	}
	at, ok, err := b.Outcome(op.Peer, op.Seq)
	if err != nil || !ok {
		return api.Outcome{}, false, err
	}
	return api.Outcome{Status: api.OpRepeated, Index: at}, true, nil
}

func (w *write) change(index uint64, op api.Op) (api.OpStatus, error) {
	switch op.Type {
	case api.OpPin:
		return w.pin(index, op)
	case api.OpUnpin:
		return w.unpin(op)
	case api.OpJoin:
		return w.join(op)
	case api.OpRemove:
		return w.remove(op)
	case api.OpRevoke:
		_, err := w.batch.UseCredential(op.Credential, nobody, op.Expires, op.Time)
		return api.OpApplied, err
	case api.OpOweKey:
		k := w.batch.Key()
		k.Owed = true
		return api.OpApplied, w.batch.PutKey(k)
	case api.OpRenewKey:
		return w.renewKey(*op.Key)
	}
	return 0, api.Unsupported.Errorf("change of type %d", op.Type)
}

func (w *write) pin(index uint64, op api.Op) (api.OpStatus, error) {
	old, ok, err := w.batch.Get(op.Pin.Cid)
	if err != nil || revision(old, ok) != op.Revision {
		return api.OpStale, err
	}
	p := *op.Pin
	p.Revision = index
	if err := w.batch.Put(p); err != nil {
		return 0, err
	}
	w.cids = append(w.cids, p.Cid)
	w.tell = append(w.tell, func() { w.m.listener.Track(p) })
	return api.OpApplied, nil
}

func (w *write) unpin(op api.Op) (api.OpStatus, error) {
	old, ok, err := w.batch.Get(op.Cid)
	if err != nil || revision(old, ok) != op.Revision {
		return api.OpStale, err
	}
	if !ok {
		return api.OpApplied, nil
	}
	if err := w.batch.Delete(op.Cid); err != nil {
		return 0, err
	}
	w.cids = append(w.cids, op.Cid)
	w.tell = append(w.tell, func() { w.m.listener.Untrack(old) })
	return api.OpApplied, nil
}

func revision(p api.Pin, ok bool) uint64 {
	if !ok {
		return 0
	}
	return p.Revision
}

// session opens op.Session. A peer that was removed opens none; the same session again
// keeps its outcomes.
func (w *write) session(index uint64, op api.Op) (api.Outcome, error) {
	o := api.Outcome{Status: api.OpApplied, Index: index}
	removed, err := w.batch.Removed(op.Peer)
	if err != nil {
		return o, err
	}
	if removed {
		o.Status = api.OpNoSession
		return o, nil
	}
	if id, _, ok := w.batch.Session(op.Peer); ok && id >= op.Session {
		if id > op.Session { // left over from a leader that is none any more
			o.Status = api.OpNoSession
		}
		return o, nil
	}
	w.batch.OpenSession(op.Peer, op.Session)
	return o, nil
}

// join admits op.Member or renews its record. A credential admits one peer, as often as
// it asks; a peer that was removed comes back only with one that it has not used.
func (w *write) join(op api.Op) (api.OpStatus, error) {
	m := *op.Member
	if !w.mayAdmit(op) {
		return api.OpStale, nil
	}
	removed, err := w.batch.Removed(m.ID)
	if err != nil {
		return 0, err
	}
	if removed && !w.fresh[string(op.Credential)] {
		return api.OpUsed, nil
	}
	if len(op.Credential) > 0 {
		delete(w.fresh, string(op.Credential))
		ok, err := w.batch.UseCredential(op.Credential, m.ID, op.Expires, op.Time)
		if err != nil || !ok {
			return api.OpUsed, err
		}
	}
	return api.OpApplied, w.batch.PutMember(m)
}

// mayAdmit tells whether the cluster's key is still the one under which the join was
// decided. Whoever knew an earlier one could have made the credential; and once there was
// one who should not know it, nobody is admitted without.
func (w *write) mayAdmit(op api.Op) bool {
	k := w.batch.Key()
	if len(op.Credential) == 0 {
		return k.Number == 0 && !k.Owed || w.batch.IsMember(op.Member.ID)
	}
	return !k.Owed && op.KeyNumber == k.Number
}

// renewKey makes k the cluster's key, if one is owed and it is the next.
func (w *write) renewKey(k api.ClusterKey) (api.OpStatus, error) {
	if was := w.batch.Key(); !was.Owed || k.Number != was.Number+1 {
		return api.OpStale, nil
	}
	k.Owed = false
	return api.OpApplied, w.batch.PutKey(k)
}

// nobody uses up the credentials that are revoked.
const nobody = api.PeerID("")

// admits tells whether ops use credentials.
func admits(ops []api.Op) bool {
	return slices.ContainsFunc(ops, func(op api.Op) bool { return len(op.Credential) > 0 })
}

// beginAdmitting starts a write for an entry that uses credentials, all earlier ones
// being part of the state. The state only tells who may use a credential: if a stranger
// may, nobody has. The batch that asks is not committed.
func (m *machine) beginAdmitting(ops []api.Op) *write {
	const stranger = api.PeerID("\x00")
	asks, fresh := m.st.NewBatch(), make(map[string]bool)
	for _, op := range ops {
		if len(op.Credential) > 0 {
			ok, err := asks.UseCredential(op.Credential, stranger, op.Expires, op.Time)
			fresh[string(op.Credential)] = ok && err == nil || fresh[string(op.Credential)]
		}
	}
	w := m.begin()
	w.fresh = fresh
	return w
}

// remove takes out a member, remembers that, and ends its session.
func (w *write) remove(op api.Op) (api.OpStatus, error) {
	w.batch.EndSession(op.Peer)
	return api.OpApplied, w.batch.RemoveMember(op.Peer)
}

// repeat answers the entry at index, which the state has already: after a restart raft
// hands over again what came since its snapshot.
func (w *write) repeat(index uint64, ops []api.Op) []api.Outcome {
	out := make([]api.Outcome, len(ops))
	for i, op := range ops {
		o, err := w.recall(index, op)
		if err != nil {
			w.m.fault.stop(fmt.Errorf("look up the outcome of log entry %d: %w", index, err))
		}
		out[i] = o
	}
	return out
}

// recall tells what became of op as far as the state still shows it. Where it does not,
// the answer is OpStale: the caller looks again.
func (w *write) recall(index uint64, op api.Op) (api.Outcome, error) {
	if op.Session != 0 && op.Type != api.OpSession {
		o, done, err := answered(w.batch, index, op)
		if done && o.Status == api.OpRepeated && o.Index == index {
			o.Status = api.OpApplied
		}
		if done || err != nil {
			return o, err
		}
		return api.Outcome{Status: api.OpStale, Index: index}, nil
	}
	there, err := w.shows(index, op)
	if err != nil || !there {
		return api.Outcome{Status: api.OpStale, Index: index}, err
	}
	return api.Outcome{Status: api.OpApplied, Index: index}, nil
}

// shows tells whether the state is as op, applied at index, left it.
func (w *write) shows(index uint64, op api.Op) (bool, error) {
	switch op.Type {
	case api.OpPin:
		p, ok, err := w.batch.Get(op.Pin.Cid)
		return ok && p.Revision == index, err
	case api.OpUnpin:
		_, ok, err := w.batch.Get(op.Cid)
		return !ok, err
	case api.OpSession:
		id, _, ok := w.batch.Session(op.Peer)
		return ok && id == op.Session, nil
	case api.OpJoin:
		removed, err := w.batch.Removed(op.Member.ID)
		return !removed, err
	case api.OpRevoke, api.OpOweKey:
		return true, nil // it can only have been applied
	case api.OpRenewKey:
		k := w.batch.Key()
		return k.Number == op.Key.Number && bytes.Equal(k.Private, op.Key.Private), nil
	default:
		return w.batch.Removed(op.Peer)
	}
}
