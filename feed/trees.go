package feed

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	treeAge   = time.Minute // after which a tree gives way to one of the pinset as it is then
	treesKept = 2           // so that who began with one can end with it
)

// trees are the pages of a full peer's pinset at its last roots.
type trees struct {
	st      *state.State
	sign    Sign
	leadsOn func(index uint64, digest [32]byte) bool

	own  chan struct{} // holds one item: the right to what follows
	kept []signedTree  // the newest last
}

// A signedTree is a tree with the statement of its root, where that is somebody else's.
type signedTree struct {
	*Tree
	statement []byte
	made      time.Time
}

func newTrees(st *state.State, sign Sign, leadsOn func(uint64, [32]byte) bool) *trees {
	t := &trees{st: st, sign: sign, leadsOn: leadsOn, own: make(chan struct{}, 1)}
	t.own <- struct{}{}
	return t
}

// acquire waits for the right to the trees.
func (t *trees) acquire(ctx context.Context) error {
	select {
	case <-t.own:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *trees) release() { t.own <- struct{}{} }

// root gives the signed root of a pinset from which the ring leads on; it makes a new
// tree where the last is too old for that.
func (t *trees) root(ctx context.Context) ([]byte, error) {
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	if n := len(t.kept); n > 0 {
		last := t.kept[n-1]
		r := last.Root()
		now := t.st.Digest()
		if r.Digest == now.Pins { // also again: what came after r.Index may be gone
			r.Index = max(r.Index, now.Index)
			return t.signed(r)
		}
		if time.Since(last.made) < treeAge && t.leadsOn(r.Index, r.Digest) {
			return t.signed(r)
		}
	}
	tree, err := t.grow(ctx)
	if err != nil {
		return nil, err
	}
	return t.signed(tree.Root())
}

// signed is made for each who asks: the signer's certificate may have been renewed since
// the tree was grown.
func (t *trees) signed(r Root) ([]byte, error) {
	body, err := api.Encode(r)
	if err != nil {
		return nil, err
	}
	return t.sign(kindRoot, body)
}

// grow makes a tree of the pinset as it is. The caller holds the right to.
func (t *trees) grow(ctx context.Context) (*Tree, error) {
	f, err := t.st.Freeze()
	if err != nil {
		return nil, err
	}
	tree, err := BuildTree(ctx, f) // which takes f over
	if err != nil {
		return nil, err
	}
	t.keep(signedTree{Tree: tree, made: time.Now()})
	return tree, nil
}

// keep makes tree the newest, and lets go of the oldest.
func (t *trees) keep(tree signedTree) {
	t.kept = append(t.kept, tree)
	if len(t.kept) > treesKept {
		t.kept[0].Close()
		t.kept = t.kept[1:]
	}
}

// page gives a page of any of the trees.
func (t *trees) page(ctx context.Context, hash []byte) ([]byte, error) {
	var h Hash
	if len(hash) != len(h) {
		return nil, api.Invalid.Errorf("the hash of a page has %d bytes", len(h))
	}
	h = Hash(hash)
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	kept := append([]signedTree(nil), t.kept...)
	t.release()
	for i := len(kept) - 1; i >= 0; i-- {
		if b, err := kept[i].Page(ctx, h); api.KindOf(err) != api.NotFound {
			return b, err
		}
	}
	return nil, api.NotFound.Errorf("there is no such page here")
}

// close lets go of all trees. Nothing is asked any more.
func (t *trees) close() {
	<-t.own
	for _, tree := range t.kept {
		tree.Close()
	}
	t.kept = nil
	t.release()
}
