package feed

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	// refreshAfter is how old a follower's tree must be before it grows another for who
	// asks; dropAfter is when nobody has it any more: it keeps files of the database.
	refreshAfter = 5 * time.Minute
	dropAfter    = time.Hour
)

// plant grows the tree of frozen, which it takes over, to give its pages to others under
// the root in m. A tree of another root is none.
func (f *Follower) plant(ctx context.Context, frozen *state.Frozen, m message) error {
	tree, err := BuildTree(ctx, frozen)
	if err != nil {
		return err
	}
	if tree.Root() != m.root || m.key != f.judge.key.Load() {
		return tree.Close()
	}
	f.replaceTree(&signedTree{tree, m.raw, time.Now()})
	return nil
}

func (f *Follower) replaceTree(t *signedTree) {
	f.mu.Lock()
	old := f.tree
	f.tree, f.wanted = t, false
	f.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (f *Follower) closeTree() { f.replaceTree(nil) }

// growTree gets a root of the pinset as it stands, and its tree, if it can.
func (f *Follower) growTree(ctx context.Context) error {
	f.mu.Lock()
	f.wanted = false
	f.mu.Unlock()
	for _, p := range f.some(askedAtOnce) {
		m, err := f.askRoot(ctx, p)
		if err != nil {
			if api.KindOf(err) != api.NotFound {
				f.blame(ctx, p, err)
			}
			continue
		}
		if err := f.take(m); err != nil {
			return err
		}
		frozen, err := f.st.Freeze()
		if err != nil {
			return err
		}
		if d := frozen.Digest(); d.Pins != m.root.Digest || d.Index != m.root.Index {
			frozen.Close()
			continue
		}
		return f.plant(ctx, frozen, m)
	}
	return nil
}
