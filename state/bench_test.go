package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"golang.org/x/sys/unix"
)

// BenchmarkPut is entries of 256 new pins of six keys each, with session and outcome
// as the state machine writes them. One operation is one pin.
func BenchmarkPut(b *testing.B) {
	s := openState(b, b.TempDir())
	self := testPeer(0)
	commit(b, s, func(b *Batch) error { b.OpenSession(self, 1); return nil })
	pins := make([]api.Pin, b.N)
	for i := range pins {
		pins[i] = testPin(i)
	}
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch := s.NewBatch()
		index := s.Applied() + 1
		for end := min(n+256, b.N); n < end; n++ {
			seq := uint64(n + 1)
			if _, done, err := batch.Outcome(self, seq); done || err != nil {
				b.Fatal(done, err)
			}
			p := pins[n]
			if _, there, err := batch.Get(p.Cid); there || err != nil {
				b.Fatal(there, err)
			}
			p.Revision = index
			must(b, batch.Put(p))
			must(b, batch.SetOutcome(self, seq, index, seq-min(seq, 500)))
		}
		must(b, batch.Commit(index))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pins/s")
	b.ReportMetric(float64(b.N)/(cpuTime(b)-cpu).Seconds(), "pins/s/core") // Pebble's own work counted
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func filled(b *testing.B, n int) *State {
	s := openState(b, b.TempDir())
	for i := 0; i < n; i += 256 {
		var pins []api.Pin
		for j := i; j < min(i+256, n); j++ {
			pins = append(pins, testPin(j))
		}
		put(b, s, pins...)
	}
	return s
}

// BenchmarkList is one pin read as part of a list.
func BenchmarkList(b *testing.B) {
	const n = 100_000
	s := filled(b, n)
	for _, q := range []struct {
		name string
		q    Query
	}{
		{"cid", Query{}},
		{"peer", Query{By: ByPeer, Peer: testPeer(1)}},
		{"name", Query{By: ByName}},
		{"created", Query{By: ByCreated, Reverse: true}},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			cpu := cpuTime(b)
			for read := 0; read < b.N; {
				for _, err := range s.List(b.Context(), q.q) {
					must(b, err)
					if read++; read >= b.N {
						break
					}
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pins/s")
			b.ReportMetric(float64(b.N)/(cpuTime(b)-cpu).Seconds(), "pins/s/core")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 100_000
	s := filled(b, n)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.Get(b.Context(), testCid(i%n)); err != nil {
			b.Fatal(err)
		}
		i += 7919
	}
}

func BenchmarkDecode(b *testing.B) {
	_, value, err := new(decoder).encode(testPin(1))
	must(b, err)
	b.Run("ours", func(b *testing.B) {
		var d decoder
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.record(value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reflection", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p api.Pin
			if err := api.Decode(value[1:], &p); err != nil {
				b.Fatal(err)
			}
		}
	})
	fmt.Fprintln(b.Output(), len(value), "bytes a record")
}

// BenchmarkCountRequests is one request counted.
func BenchmarkCountRequests(b *testing.B) {
	const n = 100_000
	s := filled(b, n)
	b.ReportAllocs()
	b.ResetTimer()
	for counted := 0; counted < b.N; counted += n {
		if got, err := s.CountRequests(b.Context(), time.Time{}, time.Time{}); err != nil || got != n {
			b.Fatal(got, err)
		}
	}
}
