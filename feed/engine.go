package feed

import (
	"fmt"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// take uses what a member says. Each batch is applied once the state stands where it
// begins. The error is of this machine.
func (f *Follower) take(m message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.evidence != nil || m.key != f.judge.key.Load() {
		return nil
	}
	f.note(m)
	f.doubt(m)
	switch m.kind {
	case kindBatches:
		for _, b := range m.batches {
			if err := f.hold(m, b); err != nil || f.evidence != nil {
				return err
			}
		}
	case kindBeacon:
		if err := f.compare(m, m.beacon.index, m.beacon.digest); err != nil || f.evidence != nil {
			return err
		}
	case kindRoot:
		if err := f.compare(m, m.root.Index, m.root.Digest); err != nil || f.evidence != nil {
			return err
		}
	}
	err := f.advance()
	if own := f.st.Digest(); m.kind == kindBeacon && !f.copying && own.Index > 0 && m.beacon.index > own.Index && m.beacon.digest == own.Pins {
		f.past.add(m, m.beacon.index, m.beacon.digest, [32]byte{}) // no entry up to there has changed a pin
	}
	if f.gone || f.behind() {
		f.nudge()
	}
	return err
}

// note remembers how far the members are. The caller holds mu.
func (f *Follower) note(m message) {
	if now := time.Now(); f.words.take(m, now) {
		f.heard = now
		if m.kind == kindBeacon {
			f.told = now
			if f.words.beacon(now).beacon == m.beacon {
				f.shown, f.seen = m.beacon.time, now
			}
		}
	}
}

func (f *Follower) isAstray(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.astray(now)
}

// astray tells whether where the log ends was not told for long, since the neighbours do
// not know. The caller holds mu.
func (f *Follower) astray(now time.Time) bool {
	return f.strayed.After(f.told) && now.Sub(f.told) > f.o.Patience
}

// behind tells whether a member says that the log goes on from where the state stands.
// The caller holds mu.
func (f *Follower) behind() bool { return f.words.latest(time.Now()) > f.index() }

// index is where the state stands, be it that the last entries changed no pin: what
// beacons tell of that is believed, though never written down. The caller holds mu.
func (f *Follower) index() uint64 {
	own := f.st.Digest()
	index := own.Index
	if index == 0 || f.copying {
		return index
	}
	for _, w := range f.words.fresh(time.Now()) {
		if said := w.beacon.beacon; said.index > index && said.digest == own.Pins {
			index = said.index
		}
	}
	return index
}

// hold keeps b until its turn, unless that is over. The caller holds mu.
func (f *Follower) hold(m message, b batch) error {
	hash, err := b.hash()
	if err != nil {
		return err
	}
	if p, ok := f.past.points[b.index]; ok && (p.hash != hash && p.hash != [32]byte{} || p.digest != b.after) {
		return f.stop(p.from, m, fmt.Sprintf("two different batches are signed for index %d", b.index))
	}
	if e, ok := f.held.by[b.index]; ok {
		if e.hash32 != hash {
			return f.stop(e.from, m, fmt.Sprintf("two different batches are signed for index %d", b.index))
		}
		return nil
	}
	if b.index > f.st.Applied() || f.copying { // be it that a beacon told of that index
		f.held.add(heldBatch{batch: b, hash32: hash, from: m})
	}
	return nil
}

// compare looks whether what m says of index is what is known. The caller holds mu.
func (f *Follower) compare(m message, index uint64, digest [32]byte) error {
	known, ok := f.past.points[index]
	if !ok {
		own := f.stands()
		if f.copying || index == 0 || own.Index != index {
			return nil
		}
		switch {
		case f.unsure && own.Pins != digest:
			f.gone = true // the state is somebody's who knew the key before
			return nil
		case f.unsure:
			return f.trust(m)
		}
		known = point{digest: own.Pins}
	}
	if known.digest != digest {
		return f.differ(known.from, known.digest, m, digest)
	}
	return nil
}

// differ stops where two say different things of the index that the second ends at. The
// caller holds mu.
func (f *Follower) differ(first message, was [32]byte, second message, is [32]byte) error {
	return f.stop(first, second, fmt.Sprintf("at index %d one says that the pinset has digest %s, another %s", second.last(), short(was), short(is)))
}

// doubt has the pinset taken anew where it is further than what is said under the cluster's
// new key, and another: what is said first under that key is new. The caller holds mu.
func (f *Follower) doubt(m message) {
	if !f.unsure || f.copying || m.last() >= f.st.Applied() {
		return
	}
	digest := m.beacon.digest
	if n := len(m.batches); n > 0 {
		digest = m.batches[n-1].after
	}
	f.gone = f.gone || m.kind != kindRoot && digest != f.st.Digest().Pins
}

// advance applies what leads on from where the state stands. The caller holds mu.
func (f *Follower) advance() error {
	for !f.copying && f.evidence == nil && f.st.Applied() > 0 {
		own := f.st.Digest()
		b, ok := f.held.next(own.Index)
		if !ok || b.before != own.Pins {
			return nil
		}
		if err := f.apply(b); err != nil {
			return err
		}
	}
	return nil
}

// apply makes b part of the state, and tells. The caller holds mu.
func (f *Follower) apply(b heldBatch) error {
	f.held.remove(b.index)
	w := f.st.NewBatch()
	var tell []func()
	for _, r := range b.rows {
		old, had, err := w.Get(r.Cid)
		if err != nil {
			return err
		}
		if err := w.PutRow(r); api.KindOf(err) == api.Invalid {
			return f.stop(message{}, b.from, fmt.Sprintf("the batch for index %d has a record that nobody can have stored: %v", b.index, err))
		} else if api.KindOf(err) == api.Unsupported {
			return outdated(err)
		} else if err != nil {
			return err
		}
		p, has, err := w.Get(r.Cid)
		switch {
		case err != nil:
			return err
		case has:
			tell = append(tell, func() { f.listener.Track(p) })
		case had:
			tell = append(tell, func() { f.listener.Untrack(old) })
		}
	}
	if got := w.Digest().Pins; got != b.after {
		return f.stop(message{}, b.from, fmt.Sprintf("the batch for index %d gives digest %s, but says %s", b.index, short(got), short(b.after)))
	}
	if err := w.Commit(b.index); err != nil {
		return err
	}
	if f.unsure {
		if err := f.trust(b.from); err != nil {
			return err
		}
	}
	f.past.add(b.from, b.index, b.after, b.hash32)
	for _, t := range tell {
		t()
	}
	return nil
}

// outdated is for a record that is not known here: no evidence against who signed it. The
// state stays as it is, and a later version of this program goes on from there.
func outdated(err error) error {
	return fmt.Errorf("%w: bring this follower up to date and start it again", err)
}
