package adder

import (
	"context"
	"fmt"
	"sync"

	blocks "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// The bounds of a batch: it leaves at either.
const (
	batchBytes  = 1 << 20
	batchBlocks = 256
)

// fanout gives every block to all destinations of an add. One that fails is aborted
// and left out as long as min remain. Each has a goroutine of its own, and a batch
// waiting, so that the others are held up only by one that is slow for long.
type fanout struct {
	min     int
	dests   []*destination
	sends   sync.WaitGroup
	outages *outages

	batch []blocks.Block
	bytes int
}

type destination struct {
	peer api.PeerID
	Destination
	batches chan []blocks.Block
	failed  chan struct{} // closed once err is set
	err     error
	ended   bool // committed or aborted; settled once its goroutine has ended
}

func (d *destination) fail(err error) {
	d.err = err
	d.ended = true
	close(d.failed)
}

func (d *destination) alive() bool {
	select {
	case <-d.failed:
		return false
	default:
		return true
	}
}

// open asks all peers of to at once. Those that refuse are left out.
func (a *Adder) open(ctx context.Context, to api.Placement, size uint64) (*fanout, error) {
	f := &fanout{min: to.Min, outages: a.outages}
	var opening sync.WaitGroup
	for _, p := range to.Peers {
		d := &destination{peer: p, batches: make(chan []blocks.Block, 1), failed: make(chan struct{})}
		f.dests = append(f.dests, d)
		opening.Go(func() {
			var err error
			if d.Destination, err = a.sender.Send(ctx, p, size); err != nil {
				d.fail(err)
				f.outages.lost(ctx, p, err)
			}
		})
	}
	opening.Wait()
	for _, d := range f.dests {
		if d.alive() {
			batches := d.batches
			f.sends.Go(func() { f.send(ctx, d, batches) })
		}
	}
	if err := f.enough(ctx); err != nil {
		f.abort(func() {})
		return nil, err
	}
	return f, nil
}

// send passes batches on to d until there are no more, or one fails.
func (f *fanout) send(ctx context.Context, d *destination, batches <-chan []blocks.Block) {
	for bs := range batches {
		if err := d.Put(ctx, bs); err != nil {
			f.giveUp(ctx, d, err)
			return
		}
	}
}

// giveUp ends the part of d, which failed with err.
func (f *fanout) giveUp(ctx context.Context, d *destination, err error) {
	f.abortOne(d)
	d.fail(err)
	f.outages.lost(ctx, d.peer, err)
}

func (f *fanout) abortOne(d *destination) {
	if err := d.Abort(); err != nil {
		f.outages.log.Debug("cannot abort an add", "peer", d.peer, "err", err)
	}
}

// put takes a block, and sends what has gathered when that is a batch.
func (f *fanout) put(ctx context.Context, b blocks.Block) error {
	f.batch = append(f.batch, b)
	f.bytes += len(b.RawData())
	if f.bytes < batchBytes && len(f.batch) < batchBlocks {
		return nil
	}
	return f.flush(ctx)
}

// flush sends what has gathered. The error tells why too few destinations are left.
func (f *fanout) flush(ctx context.Context) error {
	if len(f.batch) == 0 {
		return f.enough(ctx)
	}
	bs := f.batch
	f.batch, f.bytes = make([]blocks.Block, 0, cap(bs)), 0
	for _, d := range f.dests {
		select {
		case <-d.failed:
			continue
		default:
		}
		select {
		case d.batches <- bs:
		case <-d.failed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.enough(ctx)
}

// peers are the destinations that have not failed.
func (f *fanout) peers() []api.PeerID {
	var left []api.PeerID
	for _, d := range f.dests {
		if d.alive() {
			left = append(left, d.peer)
		}
	}
	return left
}

// enough is nil while min destinations are left. Its error has the kind of the first
// destination that failed, and tells about all.
func (f *fanout) enough(ctx context.Context) error {
	left := len(f.peers())
	if left >= f.min {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var kind api.Kind
	var causes error
	for _, d := range f.dests {
		switch {
		case d.alive():
		case causes == nil:
			causes, kind = fmt.Errorf("peer %s: %w", d.peer, d.err), api.KindOf(d.err)
		default:
			causes = fmt.Errorf("%w; peer %s: %w", causes, d.peer, d.err)
		}
	}
	return kind.Errorf("add needs %d destinations and has %d of %d left: %w", f.min, left, len(f.dests), causes)
}

// commit ends the add on all destinations once they have all blocks, and returns
// those that confirmed.
func (f *fanout) commit(ctx context.Context, root api.Cid) ([]api.PeerID, error) {
	f.close()
	var committing sync.WaitGroup
	for _, d := range f.dests {
		if !d.alive() {
			continue
		}
		committing.Go(func() {
			if err := d.Commit(ctx, root); err != nil {
				f.giveUp(ctx, d, err)
				return
			}
			d.ended = true
			f.outages.holds(d.peer)
		})
	}
	committing.Wait()
	return f.peers(), f.enough(ctx)
}

// close waits until all batches have been passed on.
func (f *fanout) close() {
	for _, d := range f.dests {
		if d.batches != nil {
			close(d.batches)
			d.batches = nil
		}
	}
	f.sends.Wait()
}

// abort gives up on all destinations that have neither committed nor failed; stop
// ends their calls in progress.
func (f *fanout) abort(stop func()) {
	stop()
	f.close()
	for _, d := range f.dests {
		if d.ended {
			continue
		}
		d.ended = true
		f.abortOne(d)
	}
}
