package state

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/multiformats/go-multiaddr"
	"github.com/pinfold-cluster/pinfold/api"
)

func TestBatch_KeepsOutcomesUntilTheyAreAcked(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	p, other := testPeer(1), testPeer(2)
	commit(t, s, func(b *Batch) error {
		b.OpenSession(p, 7)
		b.OpenSession(other, 8)
		for seq := uint64(1); seq <= 4; seq++ {
			if err := b.SetOutcome(p, seq, 100+seq, 1); err != nil {
				return err
			}
		}
		return b.SetOutcome(other, 2, 50, 1)
	})
	b := s.NewBatch()
	must(t, b.SetOutcome(p, 6, 106, 3)) // out of order, and drops 1 and 2
	must(t, b.SetOutcome(p, 5, 105, 2)) // an older number changes nothing
	for seq, want := range map[uint64]uint64{1: 0, 2: 0, 3: 103, 4: 104, 5: 105, 6: 106, 7: 0} {
		if got, ok, err := b.Outcome(p, seq); got != want || ok != (want != 0) || err != nil {
			t.Errorf("in the batch, %d: %d, %v, %v, want %d", seq, got, ok, err, want)
		}
	}
	if got, ok, _ := s.Outcome(p, 7, 1); got != 101 || !ok {
		t.Errorf("before the commit: %d, %v", got, ok)
	}
	must(t, b.Commit(2))
	must(t, s.Close())
	s = openState(t, dir)
	for seq, want := range map[uint64]uint64{1: 0, 2: 0, 3: 103, 4: 104, 5: 105, 6: 106, 7: 0} {
		if got, ok, err := s.Outcome(p, 7, seq); got != want || ok != (want != 0) || err != nil {
			t.Errorf("reopened, %d: %d, %v, %v, want %d", seq, got, ok, err, want)
		}
	}
	if id, acked, ok := s.Session(p); id != 7 || acked != 3 || !ok {
		t.Errorf("session %d, acked %d, %v", id, acked, ok)
	}
	if _, ok, _ := s.Outcome(p, 8, 3); ok {
		t.Error("another session's number has an outcome")
	}
	if got, _, _ := s.Outcome(other, 8, 2); got != 50 {
		t.Errorf("another peer's outcome: %d", got)
	}
	must(t, s.Verify(t.Context()))
}

func TestBatch_SetOutcomeRefusesWhatIsDecided(t *testing.T) {
	s := openState(t, t.TempDir())
	p := testPeer(1)
	b := s.NewBatch()
	if err := b.SetOutcome(p, 1, 1, 0); !errors.Is(err, api.Conflict) {
		t.Errorf("without a session: %v", err)
	}
	b.OpenSession(p, 1)
	must(t, b.SetOutcome(p, 5, 1, 4))
	for _, seq := range []uint64{3, 5} {
		if err := b.SetOutcome(p, seq, 2, 4); !errors.Is(err, api.Conflict) {
			t.Errorf("number %d again: %v", seq, err)
		}
	}
	must(t, b.Commit(1))
	must(t, s.Verify(t.Context()))
}

func TestBatch_AnotherSessionEndsTheFirst(t *testing.T) {
	s := openState(t, t.TempDir())
	p := testPeer(1)
	commit(t, s, func(b *Batch) error {
		b.OpenSession(p, 1)
		return b.SetOutcome(p, 1, 1, 1)
	})
	commit(t, s, func(b *Batch) error { b.OpenSession(p, 1); return nil }) // a retry
	if _, ok, _ := s.Outcome(p, 1, 1); !ok {
		t.Fatal("opening the open session lost its outcomes")
	}
	commit(t, s, func(b *Batch) error { b.OpenSession(p, 2); return nil })
	if id, acked, ok := s.Session(p); id != 2 || acked != 0 || !ok {
		t.Fatalf("session %d, acked %d, %v", id, acked, ok)
	}
	for _, session := range []uint64{1, 2} {
		if _, ok, _ := s.Outcome(p, session, 1); ok {
			t.Fatalf("session %d has an outcome", session)
		}
	}
	must(t, s.Verify(t.Context()))
	commit(t, s, func(b *Batch) error { b.EndSession(p); b.EndSession(testPeer(5)); return nil })
	if _, _, ok := s.Session(p); ok || s.Digest().Sessions != [32]byte{} {
		t.Fatal("an ended session remains")
	}
	must(t, s.Verify(t.Context()))
}

// A huge number acked at once must not cost more than the outcomes there are.
func TestBatch_AckedMayJump(t *testing.T) {
	s := openState(t, t.TempDir())
	p := testPeer(1)
	commit(t, s, func(b *Batch) error {
		b.OpenSession(p, 1)
		return errors.Join(b.SetOutcome(p, 1, 1, 0), b.SetOutcome(p, 1<<63, 1, 1<<63))
	})
	if _, acked, _ := s.Session(p); acked != 1<<63 {
		t.Fatalf("acked %d", acked)
	}
	if _, ok, _ := s.Outcome(p, 1, 1<<63); !ok {
		t.Fatal("the outcome at acked itself is gone")
	}
	must(t, s.Verify(t.Context()))
}

func TestBatch_MembersComeAndGo(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	members := []api.Member{
		{ID: testPeer(1), DataID: testPeer(11), Name: "one", Certificate: []byte{1},
			Addresses: []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/9096")}},
		{ID: testPeer(2), Name: "two"},
	}
	if members[0].ID > members[1].ID {
		members[0], members[1] = members[1], members[0]
	}
	commit(t, s, func(b *Batch) error { return errors.Join(b.PutMember(members[1]), b.PutMember(members[0])) })
	renewed := members[0]
	renewed.Name = "renewed"
	commit(t, s, func(b *Batch) error { return b.PutMember(renewed) })
	commit(t, s, func(b *Batch) error {
		if gone, err := b.Removed(members[1].ID); gone || err != nil {
			t.Errorf("removed before it was: %v, %v", gone, err)
		}
		err := b.RemoveMember(members[1].ID)
		if gone, _ := b.Removed(members[1].ID); !gone {
			t.Error("a batch does not see its own removal")
		}
		return err
	})
	must(t, s.Verify(t.Context()))
	must(t, s.Close())
	s = openState(t, dir)
	got, err := s.Members()
	must(t, err)
	if len(got) != 1 || !reflect.DeepEqual(got[0], renewed) {
		t.Fatalf("members %+v", got)
	}
	if !s.Removed(members[1].ID) || s.Removed(members[0].ID) {
		t.Fatal("who was removed is not remembered")
	}
	commit(t, s, func(b *Batch) error { return b.PutMember(members[1]) })
	if s.Removed(members[1].ID) {
		t.Fatal("a member is remembered as removed")
	}
	if err := s.NewBatch().PutMember(api.Member{}); !errors.Is(err, api.Invalid) {
		t.Fatalf("a member without ID: %v", err)
	}
	must(t, s.Verify(t.Context()))
}

func TestBatch_CredentialIsForOnePeer(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	use := func(b *Batch, nonce string, p int, now int64, want bool) {
		t.Helper()
		if ok, err := b.UseCredential([]byte(nonce), testPeer(p), 100, now); ok != want || err != nil {
			t.Errorf("%s by %d at %d: %v, %v", nonce, p, now, ok, err)
		}
	}
	b := s.NewBatch()
	use(b, "n", 1, 50, true)
	use(b, "n", 2, 50, false)
	use(b, "n", 1, 50, true)
	must(t, b.Commit(1))
	must(t, s.Close())
	s = openState(t, dir)
	b = s.NewBatch()
	use(b, "n", 2, 100, false)
	use(b, "n", 1, 100, true)
	use(b, "m", 2, 101, true) // n ended before, and is forgotten
	must(t, b.Commit(2))
	if n := len(s.mem.ledger.credentials); n != 1 {
		t.Errorf("%d credentials are kept", n)
	}
	must(t, s.Verify(t.Context()))
	for _, nonce := range [][]byte{nil, make([]byte, 129)} {
		if _, err := s.NewBatch().UseCredential(nonce, testPeer(1), 1, 0); !errors.Is(err, api.Invalid) {
			t.Errorf("a nonce of %d bytes: %v", len(nonce), err)
		}
	}
}

// Peers put entries together to batches as they come: what comes of them must be equal.
func TestBatch_BoundariesDoNotMatter(t *testing.T) {
	dir := t.TempDir()
	one, many := openState(t, filepath.Join(dir, "one")), openState(t, filepath.Join(dir, "many"))
	r := rand.New(rand.NewPCG(7, 8))
	var changes []func(b *Batch) error
	seq := map[api.PeerID]uint64{}
	for i := range 400 {
		p, pin, nonce, remove := testPeer(r.IntN(4)), randomPin(r, 40), []byte{byte(r.IntN(10))}, r.IntN(20) == 0
		session := uint64(1 + i/100)
		if i%100 < 8 {
			clear(seq)
			changes = append(changes, func(b *Batch) error { b.OpenSession(p, session); return nil })
		}
		seq[p]++
		number := seq[p]
		changes = append(changes, func(b *Batch) error {
			if _, err := b.UseCredential(nonce, p, int64(i+5), int64(i)); err != nil {
				return err
			}
			if remove {
				b.EndSession(p)
				return errors.Join(b.RemoveMember(p), b.Delete(pin.Cid))
			}
			if _, acked, ok := b.Session(p); ok && number >= acked {
				if _, done, _ := b.Outcome(p, number); !done {
					if err := b.SetOutcome(p, number, uint64(i), number-min(number, 3)); err != nil {
						return err
					}
				}
			}
			return errors.Join(b.PutMember(api.Member{ID: p}), b.Put(pin))
		})
	}
	apply := func(s *State, most int) {
		for i := 0; i < len(changes); {
			b := s.NewBatch()
			end := min(len(changes), i+1+r.IntN(most))
			for ; i < end; i++ {
				must(t, changes[i](b))
			}
			must(t, b.Commit(uint64(i)))
		}
		must(t, s.Verify(t.Context()))
	}
	apply(one, 1)
	apply(many, 50)
	if one.Digest() != many.Digest() {
		t.Fatal("batches of other sizes made another state")
	}
}
