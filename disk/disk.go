package disk

import (
	"context"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A DB is a Pebble database whose writes keep to a Fault.
type DB struct {
	*pebble.DB // for reading
	fault      *Fault
	waiting    atomic.Int32 // how many wait for tables to be written out
}

// Open opens the database in dir. The Fatalf of o.Logger must be fault's.
func Open(dir string, o *pebble.Options, fault *Fault) (*DB, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.FS = &watched{o.FS, dir, fault}
	d := &DB{fault: fault}
	o.EventListener = d.listen(o)
	err := d.wait(func() (err error) {
		db, err := pebble.Open(dir, o)
		d.DB = db
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// listen returns the listener of o and one that raises the fault where someone waits
// for a table to be written out which cannot be: Pebble would try for ever.
func (d *DB) listen(o *pebble.Options) *pebble.EventListener {
	var own pebble.EventListener
	if o.EventListener != nil {
		own = *o.EventListener
	}
	own.EnsureDefaults(o.Logger)
	both := pebble.TeeEventListener(own, pebble.EventListener{
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { d.waiting.Add(1) },
		WriteStallEnd:   func() { d.waiting.Add(-1) },
		BackgroundError: func(err error) {
			if d.waiting.Load() > 0 {
				d.fault.raise(err)
			}
		},
	})
	return &both
}

// wait is Do of what waits for tables to be written out.
func (d *DB) wait(write func() error) error {
	d.waiting.Add(1)
	defer d.waiting.Add(-1)
	return d.fault.Do(write)
}

// Close closes the database; after a fault it leaves that to the end of the process.
func (d *DB) Close() error {
	if d.fault.Err() != nil {
		return nil // whoever ran it told the error
	}
	return d.fault.Do(d.DB.Close)
}

// Fault tells whether the database can be written.
func (d *DB) Fault() *Fault { return d.fault }

// Set is pebble.DB's.
func (d *DB) Set(key, value []byte, o *pebble.WriteOptions) error {
	return d.fault.Do(func() error { return d.DB.Set(key, value, o) })
}

// Delete is pebble.DB's.
func (d *DB) Delete(key []byte, o *pebble.WriteOptions) error {
	return d.fault.Do(func() error { return d.DB.Delete(key, o) })
}

// Sync returns once all that was written is on disk.
func (d *DB) Sync() error {
	return d.fault.Do(func() error { return d.DB.LogData(nil, pebble.Sync) })
}

// Flush is pebble.DB's.
func (d *DB) Flush() error { return d.wait(d.DB.Flush) }

// Compact is pebble.DB's.
func (d *DB) Compact(ctx context.Context, start, end []byte, parallelize bool) error {
	return d.fault.Do(func() error { return d.DB.Compact(ctx, start, end, parallelize) })
}

// Checkpoint is pebble.DB's.
func (d *DB) Checkpoint(dir string, o ...pebble.CheckpointOption) error {
	return d.fault.Do(func() error { return d.DB.Checkpoint(dir, o...) })
}

// A Batch is one of Pebble whose Commit keeps to the fault of its database.
type Batch struct {
	*pebble.Batch
	fault *Fault
}

// NewBatch returns an empty batch.
func (d *DB) NewBatch() *Batch { return &Batch{d.DB.NewBatch(), d.fault} }

// NewBatchWithSize returns an empty batch with room for size bytes.
func (d *DB) NewBatchWithSize(size int) *Batch {
	return &Batch{d.DB.NewBatchWithSize(size), d.fault}
}

// Commit is pebble.Batch's.
func (b *Batch) Commit(o *pebble.WriteOptions) error {
	return b.fault.Do(func() error { return b.Batch.Commit(o) })
}

// Close releases the batch, but after a fault, when a write may still hold it.
func (b *Batch) Close() error {
	if b.fault.Err() != nil {
		return nil
	}
	return b.Batch.Close()
}
