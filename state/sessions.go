package state

import "github.com/pinfold-cluster/pinfold/api"

// Session tells p's session, as State.Session does.
func (b *Batch) Session(p api.PeerID) (id, acked uint64, ok bool) {
	s, ok := lookup(b.sessions, b.base().sessions, p)
	return s.id, s.acked, ok
}

// OpenSession begins session id of p and ends its earlier one. Opening the one that
// is open changes nothing.
func (b *Batch) OpenSession(p api.PeerID, id uint64) {
	if s, ok := lookup(b.sessions, b.base().sessions, p); ok && s.id == id {
		return
	}
	change(&b.sessions, p, &session{id: id})
}

// EndSession ends p's session and forgets its outcomes.
func (b *Batch) EndSession(p api.PeerID) {
	change(&b.sessions, p, nil)
}

// Outcome tells the log index at which request seq of p's session was applied.
func (b *Batch) Outcome(p api.PeerID, seq uint64) (index uint64, ok bool, err error) {
	s, _ := lookup(b.sessions, b.base().sessions, p)
	i, ok := s.find(seq)
	if !ok {
		return 0, false, nil
	}
	return s.outcomes[i].index, true, nil
}

// SetOutcome keeps that request seq of p's session was applied at a log index, and
// drops the outcomes of requests numbered below acked. The error is Conflict where p
// has no session, or the outcome is there already or numbered below what was acked.
func (b *Batch) SetOutcome(p api.PeerID, seq, index, acked uint64) error {
	s, ok := lookup(b.sessions, b.base().sessions, p)
	if !ok {
		return api.Conflict.Errorf("peer %s has no session", p)
	}
	i, there := s.find(seq)
	if there || seq < s.acked {
		return api.Conflict.Errorf("request %d of peer %s has an outcome already", seq, p)
	}
	s = s.with(i, outcome{seq, index})
	if acked > s.acked {
		s.acked = acked
		i, _ := s.find(acked)
		s.outcomes = s.outcomes[i:]
	}
	change(&b.sessions, p, &s)
	return nil
}

// writeSessions writes the rows in which the sessions differ from the ledger's.
func (b *Batch) writeSessions() (err error) {
	for p, now := range b.sessions {
		was, had := b.base().sessions[p]
		var is session
		var wasRow, row []byte
		if had {
			wasRow = was.row()
		}
		if now != nil {
			is, row = *now, now.row()
		}
		if wasRow != nil || row != nil {
			err = firstOf(err, b.setRow(stringKey(sessionKind, string(p)), wasRow, row))
		}
		err = firstOf(err, b.writeOutcomes(p, was.outcomes, is.outcomes))
	}
	return err
}

// writeOutcomes writes the rows in which two lists, sorted by number, differ.
func (b *Batch) writeOutcomes(p api.PeerID, was, is []outcome) (err error) {
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].seq < is[0].seq:
			err = firstOf(err, b.setRow(outcomeKey(p, was[0].seq), was[0].row(), nil))
			was = was[1:]
		case len(was) == 0 || is[0].seq < was[0].seq:
			err = firstOf(err, b.setRow(outcomeKey(p, is[0].seq), nil, is[0].row()))
			is = is[1:]
		default:
			if was[0] != is[0] {
				err = firstOf(err, b.setRow(outcomeKey(p, is[0].seq), was[0].row(), is[0].row()))
			}
			was, is = was[1:], is[1:]
		}
	}
	return err
}
