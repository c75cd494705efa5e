package state

import (
	"github.com/dustin/go-humanize"

	"github.com/pinfold-cluster/pinfold/api"
)

// boundStep is how many bytes are written before what the database takes is looked at
// again: pebble counts its files for that.
const boundStep = 1 << 20

// admit refuses the batch where the database takes as much as it may.
func (s *State) admit(b *Batch) error {
	if s.o.MaxBytes == 0 {
		return nil
	}
	if s.unseen += uint64(b.w.Len()); s.unseen < boundStep {
		return nil
	}
	if takes := b.d.db.Metrics().DiskSpaceUsage(); takes > s.o.MaxBytes {
		return api.TooLarge.Errorf("the pinset takes %s on disk, and may take %s: raise %s", humanize.IBytes(takes), humanize.IBytes(s.o.MaxBytes), s.o.MaxBy)
	}
	s.unseen = 0
	return nil
}
