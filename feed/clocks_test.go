package feed

import (
	"testing"
	"time"
)

// told is a beacon of the member "a".
func told(index uint64, at time.Time) message {
	return message{kind: kindBeacon, signer: "a", beacon: beacon{index: index, time: at}}
}

// Whose clock is hours off hears members whose clocks go on as ever, and no replays.
func TestClocks_ThatAreOffHearWhatIsNew(t *testing.T) {
	for _, off := range []time.Duration{0, -25 * time.Second, 25 * time.Second, -3 * time.Hour, 3 * time.Hour} {
		j, w, start := newJudge(nil), words{}, time.Now()
		own := func(d time.Duration) time.Time { return start.Add(d + off) }
		for d := time.Duration(0); d < 5*time.Minute; d += 5 * time.Second {
			m := told(10, start.Add(d))
			if j.old(m, 10, own(d)) || !w.take(m, own(d)) {
				t.Fatalf("%v off: a beacon is not heard after %v", off, d)
			}
			if got := w.beacon(own(d)).beacon.time; !got.Equal(m.beacon.time) {
				t.Errorf("%v off: after %v the last beacon is that of %v", off, d, got.Sub(start))
			}
			if again := told(10, start.Add(d-2*time.Minute)); d >= 2*time.Minute && (!j.old(again, 10, own(d)) || w.take(again, own(d))) {
				t.Fatalf("%v off: a replay is heard after %v", off, d)
			}
		}
	}
}

// What was signed when the clock was an hour fast mutes nobody whose clock is right to half
// a minute, and is passed on once, and once more when its time has come.
func TestClocks_FastOnceMuteNobody(t *testing.T) {
	for _, off := range []time.Duration{0, -25 * time.Second, 25 * time.Second} {
		j, w, start := newJudge(nil), words{}, time.Now()
		fast := told(10, start.Add(time.Hour))
		passed, news := 0, 0
		for d := time.Duration(0); d < 2*time.Hour; d += 5 * time.Second {
			now := start.Add(d + off)
			if d%(125*time.Second) == 0 { // gossip has forgotten it
				if !j.old(fast, 10, now) {
					passed++
				}
				if w.take(fast, now) {
					news++
				}
			}
			m := told(12, start.Add(d))
			if j.old(m, 12, now) || !w.take(m, now) {
				t.Fatalf("%v off: a beacon is not heard after %v", off, d)
			}
			if got := w.beacon(now).beacon; got.index != 12 || !got.isTimely(now) {
				t.Fatalf("%v off: after %v the last beacon is one of index %d, %v ahead", off, d, got.index, got.time.Sub(now))
			}
			if got := w.latest(now); got != 12 {
				t.Fatalf("%v off: after %v the latest index is %d", off, d, got)
			}
		}
		if passed > 2 || news > 1 {
			t.Errorf("%v off: what was signed by a fast clock was passed on %d times and was news %d times", off, passed, news)
		}
	}
}

// What a fast clock signed before the log went on hides from nobody that it did, played
// right after each true word once its time has come.
func TestWords_ReplaysDoNotHideTheEnd(t *testing.T) {
	for _, ahead := range []time.Duration{-20 * time.Second, 0, 20 * time.Second, time.Minute} {
		w, start := words{}, time.Now()
		for d := time.Duration(0); d < 5*time.Minute; d += 5 * time.Second {
			for _, m := range []message{told(12, start.Add(d)), told(10, start.Add(d+ahead+time.Second))} {
				w.take(m, start.Add(d))
			}
			for wait := time.Duration(0); wait < 5*time.Second; wait += time.Second {
				now := start.Add(d + wait)
				if got := w.latest(now); got != 12 {
					t.Fatalf("replays %v ahead: after %v the latest index is %d", ahead, d+wait, got)
				}
				if got := w.beacon(now).beacon; got.index != 12 || !got.isTimely(now) {
					t.Fatalf("replays %v ahead: after %v the last beacon is one of index %d, %v ahead", ahead, d+wait, got.index, got.time.Sub(now))
				}
			}
		}
	}
}

// Whatever two beacons a member has signed, in whatever order they come: what it says next,
// by a clock that is right, is heard.
func FuzzClocks(f *testing.F) {
	f.Add(wireForms(f)["beacon"], wireForms(f)["beacon"], int64(0))
	f.Fuzz(func(t *testing.T, first, second []byte, wait int64) {
		j, w, now := newJudge(nil), words{}, time.Now()
		for _, body := range [][]byte{first, second, first} {
			if b, err := decodeBeacon(body); err == nil {
				m := told(b.index, b.time)
				j.old(m, 10, now)
				w.take(m, now)
			}
			now = now.Add(time.Duration(wait & (1<<32 - 1)))
		}
		now = now.Add(lessAfter)
		m := told(10, now)
		if j.old(m, 10, now) || !w.take(m, now) {
			t.Fatal("it is not heard")
		}
		if got := w.latest(now); got != 10 {
			t.Fatalf("the latest index is %d", got)
		}
		if got := w.beacon(now).beacon; got.index != 10 || !got.isTimely(now) {
			t.Fatalf("the last beacon is one of index %d, %v ahead", got.index, got.time.Sub(now))
		}
	})
}
