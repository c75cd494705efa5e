package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// settle is how long the tree of files has to be left alone before the cluster is
	// told, and settleMost how long that may be put off.
	settle     = 300 * time.Millisecond
	settleMost = 3 * time.Second
	// keepRetry is between attempts to tell it.
	keepRetry = 30 * time.Second
	// keepCheck is how often it is looked whether what is in the tree is still pinned:
	// what others unpin stays here, and would on this peer alone.
	keepCheck = 5 * time.Minute
	// maxKept bounds the entries that have pins of their own; a tree of more at its top
	// is one pin.
	maxKept = 10_000
	// keepBatch is how many pins change at once.
	keepBatch = 256
)

// Tree is the node's tree of files, as far as it is the cluster's business.
type Tree interface {
	// Top lists what is at its top, names with CIDs; its root alone, under no name, where
	// that is over most.
	Top(ctx context.Context, most int) (map[string]api.Cid, error)
	// FilesChanged gets a value after a change, unless one is waiting there.
	FilesChanged() <-chan struct{}
	// KeptFiles and SetKeptFiles remember, durably, what of the tree is pinned in the
	// cluster: its name, without a slash, and its CID.
	KeptFiles(context.Context) (map[string]api.Cid, error)
	SetKeptFiles(context.Context, map[string]api.Cid) error
}

// Requests changes the pinset by requests, several of which a CID may have.
type Requests interface {
	PinMany(ctx context.Context, reqs []api.Request) []api.Result
}

// Keeper has the cluster keep what is at the top of this peer's tree of files: each
// entry is a request for its CID, under its name. So it is replicated like any pin, and
// let go when it leaves the tree unless something else asks for it.
type Keeper struct {
	self     api.PeerID
	tree     Tree
	pinset   Pinset
	requests Requests
	log      *slog.Logger
}

// NewKeeper returns a Keeper for the peer self. It does nothing until Run.
func NewKeeper(self api.PeerID, t Tree, p Pinset, r Requests, log *slog.Logger) *Keeper {
	return &Keeper{self: self, tree: t, pinset: p, requests: r, log: log}
}

// Run follows the tree until ctx ends. What fails is tried again.
func (k *Keeper) Run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		retry.Stop()
		if err := k.sync(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("the files are not all pinned as they are now; trying again", "err", err)
			retry.Reset(keepRetry)
		} else {
			retry.Reset(keepCheck)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
		case <-k.tree.FilesChanged():
			k.settle(ctx)
		}
	}
}

// settle waits until the tree has been left alone for a while.
func (k *Keeper) settle(ctx context.Context) {
	most := time.NewTimer(settleMost)
	defer most.Stop()
	for {
		quiet := time.NewTimer(settle)
		select {
		case <-k.tree.FilesChanged():
			quiet.Stop()
			continue
		case <-quiet.C:
		case <-most.C:
			quiet.Stop()
		case <-ctx.Done():
			quiet.Stop()
		}
		return
	}
}

// sync changes requests until those for the tree are as it is. New ones come first, so
// that nothing is let go in between.
func (k *Keeper) sync(ctx context.Context) error {
	want, err := k.tree.Top(ctx, maxKept)
	if err != nil {
		return err
	}
	kept, err := k.tree.KeptFiles(ctx)
	if err != nil {
		return err
	}
	left := maps.Clone(kept)
	now := maps.Clone(kept)
	if now == nil {
		now = map[string]api.Cid{}
	}
	var pins []change
	for _, name := range slices.Sorted(maps.Keys(want)) {
		c := change{name, want[name]}
		if kept[name].Cid.Equals(c.cid.Cid) {
			delete(left, name)
			there, err := k.pinned(ctx, c)
			if err != nil {
				return err
			}
			if there {
				continue
			}
		}
		pins = append(pins, c)
	}
	var errs []error
	for batch := range slices.Chunk(pins, keepBatch) {
		done, err := k.pin(ctx, batch)
		errs = append(errs, err)
		for _, c := range batch {
			if !done[c.name] {
				delete(left, c.name) // the old one stays until the new one is there
				continue
			}
			now[c.name] = c.cid
		}
	}
	var drops []change
	for _, name := range slices.Sorted(maps.Keys(left)) {
		drops = append(drops, change{name, left[name]})
		if _, ok := want[name]; !ok {
			delete(now, name)
		}
	}
	for batch := range slices.Chunk(drops, keepBatch) {
		if err := k.drop(ctx, batch); err != nil {
			return errors.Join(append(errs, err)...) // nothing is noted: all is tried again
		}
	}
	if !maps.EqualFunc(now, kept, func(a, b api.Cid) bool { return a.Cid.Equals(b.Cid) }) {
		errs = append(errs, k.tree.SetKeptFiles(ctx, now))
	}
	return errors.Join(errs...)
}

// change is an entry of the tree whose request comes or goes.
type change struct {
	name string
	cid  api.Cid
}

// id is that of the request for the entry called name: the same whenever it is made.
func (k *Keeper) id(name string) string {
	sum := sha256.Sum256([]byte(string(k.self) + "/" + name))
	return "files" + hex.EncodeToString(sum[:8])
}

// request is the one for the entry called name. Names in the tree may be any bytes, of any
// length: a pin's is what of them is text, and fits.
func (k *Keeper) request(name string) api.PinRequest {
	shown := strings.ToValidUTF8("/"+name, "\uFFFD")
	for len(shown) > maxPinName {
		_, last := utf8.DecodeLastRuneInString(shown)
		shown = shown[:len(shown)-last]
	}
	return api.PinRequest{ID: k.id(name), Name: shown, Metadata: map[string]string{"files": k.self.String()}}
}

// pinned tells whether the request for an entry is in the pinset.
func (k *Keeper) pinned(ctx context.Context, c change) (bool, error) {
	p, err := k.pinset.Get(ctx, c.cid)
	if errors.Is(err, api.NotFound) {
		return false, nil
	}
	id := k.id(c.name)
	return slices.ContainsFunc(p.Requests, func(r api.PinRequest) bool { return r.ID == id }), err
}

// pin makes the requests of a batch, and tells which are there.
func (k *Keeper) pin(ctx context.Context, batch []change) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	done := map[string]bool{}
	var reqs []api.Request
	var asked []change
	for _, c := range batch {
		if there, err := k.pinned(ctx, c); err == nil && there {
			done[c.name] = true // made before a crash
			continue
		}
		r := k.request(c.name)
		reqs = append(reqs, api.Request{Type: api.RequestPin,
			Pin: api.Pin{Cid: c.cid, Requests: []api.PinRequest{r}, Allocations: []api.PeerID{k.self}}})
		asked = append(asked, c)
	}
	var errs []error
	for i, res := range k.requests.PinMany(ctx, reqs) {
		err := res.Fault.Err()
		if err != nil && !errors.Is(err, api.Lagging) {
			errs = append(errs, err)
			continue
		}
		done[asked[i].name] = true
	}
	return done, errors.Join(errs...)
}

// drop takes the requests of a batch away.
func (k *Keeper) drop(ctx context.Context, batch []change) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var reqs []api.Request
	for _, c := range batch {
		id := k.id(c.name)
		reqs = append(reqs, api.Request{Type: api.RequestUnpin, Pin: api.Pin{Cid: c.cid}, Drop: &id})
	}
	var errs []error
	for _, res := range k.requests.PinMany(ctx, reqs) {
		if err := res.Fault.Err(); err != nil && !errors.Is(err, api.Lagging) && !errors.Is(err, api.NotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
