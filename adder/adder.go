// Package adder turns files into UnixFS blocks, sends them to the peers chosen for
// them, and pins the root.
//
// Files are read once, in the order they come, and their blocks leave while reading
// goes on: an add takes the same memory whatever its size, but for its directories,
// which are built at the end. All destinations get every block; the slowest sets the
// pace. CIDs are those of Kubo 0.42 for the same bytes and options, which
// testdata/golden.json holds it to. See DESIGN.md for why the importer is our own.
//
// Who holds an add is the Placer's to decide, and keeping blocks the Destinations'.
package adder

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// Destination keeps the blocks of one add on one peer. Its methods are not called
// concurrently; one of Commit and Abort ends it, and after an error of Put or Commit
// it is aborted.
type Destination = interface {
	// Put stores blocks, in any order, after comparing each with its CID. It may keep
	// them.
	Put(ctx context.Context, bs []blocks.Block) error
	// Commit returns once all blocks are durable and root is pinned. With CidUndef
	// nothing is pinned: the blocks are durable, and left to collection.
	Commit(ctx context.Context, root api.Cid) error
	Abort() error
}

// Placer chooses peers for an add, and pins its root.
type Placer interface {
	// Place chooses the destinations of about size bytes, 0 where nobody knows.
	Place(ctx context.Context, o api.PinOptions, size uint64) (api.Placement, error)
	// Pin records p, whose Allocations are the peers that have everything, and names
	// others for what is lacking. It returns the record and the log index.
	Pin(ctx context.Context, p api.Pin) (api.Pin, uint64, error)
}

// Sender opens a Destination of about size bytes on peer p, which may be this one.
type Sender interface {
	Send(ctx context.Context, p api.PeerID, size uint64) (Destination, error)
}

// pinTimeout bounds pinning the root. Without a majority of the peers it would wait for
// one for ever.
const pinTimeout = 30 * time.Second

// Options tune an Adder; the zero value of a field means its default.
type Options struct {
	Hashers int `json:"hashers,omitempty"` // goroutines that hash, in each add; one a CPU
	Entries int `json:"entries,omitempty"` // files and directories in one add, some 200 bytes of memory each; 2,000,000
}

func (o Options) withDefaults() Options {
	if o.Hashers <= 0 {
		o.Hashers = runtime.GOMAXPROCS(0)
	}
	if o.Entries <= 0 {
		o.Entries = 2_000_000
	}
	return o
}

// Adder adds files. Its methods are safe for concurrent use.
type Adder struct {
	self    api.PeerID
	placer  Placer
	sender  Sender
	o       Options
	outages *outages
}

// New returns an Adder for the peer self.
func New(self api.PeerID, p Placer, s Sender, o Options, log *slog.Logger) *Adder {
	return &Adder{self: self, placer: p, sender: s, o: o.withDefaults(),
		outages: &outages{log: log.With("component", "adder"), out: map[api.PeerID]bool{}}}
}

// Add adds the entries of dir as p says and returns the pin of the last root, or with
// p.NoPin a Pin that is not recorded. All roots of a CAR are pinned, and of files the
// last. out is called with the lines of the answer, one
// at a time; the last line comes once the add is a success. dir is read to its end
// unless the add fails, and never after Add has returned: where reading blocks, its
// owner has to end that.
//
// Kinds: Invalid or Unsupported for p and for what dir holds, then nothing has
// happened; TooLarge for more than Options.Entries; that of the last cause where
// fewer destinations than the placement's minimum are left, Full where it is room;
// Unavailable or Unknown where the root was not pinned within 30 s.
// Nothing is pinned after an error, but for one of the final Placer.Pin: then the Pin
// returned has, as its Revision, the log index that this gave with it.
func (a *Adder) Add(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
	f, err := newFormat(p)
	if err != nil {
		return api.Pin{}, err
	}
	p.Mode, p.PinUpdate = api.PinRecursive, api.CidUndef
	to, err := a.place(ctx, p)
	if err != nil {
		return api.Pin{}, err
	}
	// The end of this context is what makes destinations give up their part.
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	fan, err := a.open(actx, to, p.Size)
	if err != nil {
		return api.Pin{}, err
	}
	defer fan.abort(cancel)

	l := &lines{out: out, holders: fan.peers}
	var in imported
	if p.Format == "car" {
		in, err = importCAR(actx, dir, !p.NoPin, fan, l)
	} else if in.top, err = importFiles(actx, dir, f, p, a.o, fan, l); err == nil {
		in.roots = []cid.Cid{in.top.cid}
	}
	if err != nil {
		return api.Pin{}, err
	}
	if err := fan.flush(actx); err != nil {
		return api.Pin{}, err
	}
	pin := api.NewPin(api.Cid{Cid: in.top.cid}, p.PinOptions, time.Now())
	pin.Size = in.top.size
	if p.NoPin {
		if pin.Allocations, err = fan.commit(actx, api.CidUndef); err != nil {
			return api.Pin{}, err
		}
		return pin, l.last(pin.Allocations)
	}
	if pin.Allocations, err = fan.commit(actx, pin.Cid); err != nil {
		return api.Pin{}, err
	}
	holders := pin.Allocations
	if pin, err = a.pin(ctx, pin, in.roots); err != nil {
		return pin, err
	}
	if len(pin.Allocations) > 0 {
		holders = pin.Allocations
	}
	return pin, l.last(holders)
}

// pinsAtOnce is how many roots of a CAR are being pinned at the same time.
const pinsAtOnce = 64

// pin pins each of roots as p says, and returns the record of the last, with the
// highest log index. After an error that came with a log index, that is all it returns.
func (a *Adder) pin(ctx context.Context, p api.Pin, roots []cid.Cid) (api.Pin, error) {
	ctx, stop := context.WithTimeout(ctx, pinTimeout)
	defer stop()
	pins := make([]api.Pin, len(roots))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pinsAtOnce)
	for i, root := range roots {
		g.Go(func() error {
			one := p
			one.Cid = api.Cid{Cid: root}
			pin, index, err := a.placer.Pin(ctx, one)
			pin.Revision = index
			pins[i] = pin
			return err
		})
	}
	err := g.Wait()
	last := pins[len(pins)-1]
	for _, pin := range pins {
		last.Revision = max(last.Revision, pin.Revision)
	}
	if err != nil {
		return api.Pin{Revision: last.Revision}, err
	}
	return last, nil
}

// place chooses the destinations. A local add goes to this peer alone, which need not
// be one that the Placer would choose; it names the other holders when it pins.
func (a *Adder) place(ctx context.Context, p api.AddParams) (api.Placement, error) {
	to, err := a.placer.Place(ctx, p.PinOptions, p.Size)
	if err != nil {
		return api.Placement{}, err
	}
	if p.Local {
		return api.Placement{Peers: []api.PeerID{a.self}, Min: 1}, nil
	}
	if len(to.Peers) == 0 {
		return api.Placement{}, api.Unavailable.Errorf("no peer to add to")
	}
	to.Min = min(max(to.Min, 1), len(to.Peers))
	return to, nil
}
