package feed

import "testing"

func TestPublisher_AgreesWithWhatWas(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 5)
	p := w.members[0].pub
	old := w.members[0].st.Digest()
	w.pin(5, 6)
	now := w.members[0].st.Digest()
	for _, tt := range []struct {
		what          string
		index         uint64
		digest        [32]byte
		agrees, known bool
	}{
		{"as it is", now.Index, now.Pins, true, true},
		{"another at its own index", now.Index, old.Pins, false, true},
		{"as it was", old.Index, old.Pins, true, true},
		{"another as it was", old.Index, now.Pins, false, true},
		{"ahead", now.Index + 1, now.Pins, false, false},
		{"before what it knows", 1, old.Pins, false, false},
		{"no index", 0, now.Pins, false, false},
	} {
		if agrees, known := p.Agrees(tt.index, tt.digest[:]); agrees != tt.agrees || known != tt.known {
			t.Errorf("%s: got %t %t, want %t %t", tt.what, agrees, known, tt.agrees, tt.known)
		}
	}
}
