package blocks

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	block "github.com/ipfs/go-block-format"
)

// random makes n blocks of random bytes. Their hashes are random too: nothing checks
// them here.
func random(tb testing.TB, seed uint64, n, size int) []block.Block {
	tb.Helper()
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	bs := make([]block.Block, n)
	for i := range bs {
		data, digest := make([]byte, size), make([]byte, 32)
		r.Read(data)
		r.Read(digest)
		h, err := multihash.Encode(digest, multihash.SHA2_256)
		if err != nil {
			tb.Fatal(err)
		}
		bs[i], err = block.NewBlockWithCid(data, cid.NewCidV1(cid.Raw, h))
		if err != nil {
			tb.Fatal(err)
		}
	}
	return bs
}

// BenchmarkPut stores 256 MiB, durable at the end: go test -bench Put -benchtime 1x.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct{ blocks, size int }{{1024, 256 << 10}, {256, 1 << 20}, {256 << 10, 1 << 10}} {
		b.Run(fmt.Sprintf("%dKiB", c.size>>10), func(b *testing.B) {
			bs := random(b, 1, c.blocks, c.size)
			b.SetBytes(int64(c.blocks * c.size))
			for b.Loop() {
				s, err := Open(b.TempDir(), Options{}, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				l, err := s.OpenLease(0)
				if err != nil {
					b.Fatal(err)
				}
				batch := max(1, 4<<20/c.size)
				for i := 0; i < len(bs); i += batch {
					if err := l.Put(b.Context(), bs[i:min(len(bs), i+batch)]); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.Sync(); err != nil {
					b.Fatal(err)
				}
				l.Close()
				m := s.DB().Metrics()
				b.ReportMetric(float64(m.DiskSpaceUsage())/float64(c.blocks*c.size), "disk/data")
				total := m.Total()
				b.ReportMetric(float64(total.TableBytesFlushed+total.BlobBytesFlushed+total.TableBytesCompacted+total.BlobBytesCompacted)/float64(c.blocks*c.size), "written/data")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead looks up and reads blocks of 256 KiB.
func BenchmarkRead(b *testing.B) {
	s, err := Open(b.TempDir(), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bs := random(b, 1, 1024, 256<<10)
	if err := s.PutMany(b.Context(), bs); err != nil {
		b.Fatal(err)
	}
	if err := s.DB().Flush(); err != nil {
		b.Fatal(err)
	}
	missing := random(b, 2, 1024, 1)
	b.Run("Has", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if ok, err := s.Has(b.Context(), bs[i*37%len(bs)].Cid()); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("HasNot", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if ok, err := s.Has(b.Context(), missing[i*37%len(missing)].Cid()); err != nil || ok {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("Get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), bs[i*37%len(bs)].Cid()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
