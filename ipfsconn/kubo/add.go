package kubo

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/url"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// add implements ipfsconn.Add.
type add struct {
	n     *Node
	grant uint64 // bytes set aside and not yet used; guarded by n.mu
	ended bool
}

// OpenAdd implements ipfsconn.Connector. It waits for a collection to end.
func (n *Node) OpenAdd(ctx context.Context, size uint64) (ipfsconn.Add, error) {
	st, err := n.RepoStat(ctx)
	if err != nil {
		return nil, err
	}
	for {
		n.mu.Lock()
		if !n.collecting {
			break
		}
		done := n.collected
		n.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, api.Unavailable.Errorf("garbage is being collected: %w", ctx.Err())
		}
	}
	defer n.mu.Unlock()
	if size > st.Free {
		return nil, api.CauseDiskFull.Wrap(api.Full.Errorf("no room for %d bytes: %d of %d used, %d free", size, st.RepoSize, st.StorageMax, st.Free))
	}
	n.adds++
	n.granted += size
	return &add{n: n, grant: size}, nil
}

// Put implements ipfsconn.Add.
func (a *add) Put(ctx context.Context, bs []blocks.Block) error {
	if a.ended {
		return api.Conflict.Errorf("the add has ended")
	}
	if err := ipfsconn.CheckBlocks(bs); err != nil {
		return err
	}
	var size uint64
	for _, group := range alike(bs) {
		if err := a.n.put(ctx, group); err != nil {
			return err
		}
		for _, b := range group {
			size += uint64(len(b.RawData()))
		}
	}
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	used := min(a.grant, size)
	a.grant -= used
	a.n.granted -= used
	return nil
}

// maxPut bounds the blocks of one request, in bytes.
const maxPut = 8 << 20

// alike splits blocks into groups that one block/put can take: it has one hash function
// for all its files. The codec is no matter, as Kubo keeps blocks by their hash.
func alike(bs []blocks.Block) [][]blocks.Block {
	type kind struct {
		code uint64
		len  int
	}
	open := map[kind]int{} // index in groups
	sizes := []int{}
	var groups [][]blocks.Block
	for _, b := range bs {
		p := b.Cid().Prefix()
		if p.MhType == multihash.IDENTITY {
			continue
		}
		k := kind{p.MhType, p.MhLength}
		i, ok := open[k]
		if !ok || sizes[i]+len(b.RawData()) > maxPut {
			i = len(groups)
			open[k] = i
			groups, sizes = append(groups, nil), append(sizes, 0)
		}
		groups[i] = append(groups[i], b)
		sizes[i] += len(b.RawData())
	}
	return groups
}

// put sends blocks of one hash function, and compares what Kubo says it stored.
func (n *Node) put(ctx context.Context, bs []blocks.Block) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	up, err := form(bs)
	if err != nil {
		return err
	}
	p := bs[0].Cid().Prefix()
	args := url.Values{"cid-codec": {"raw"}, "mhtype": {multihash.Codes[p.MhType]}, "allow-big-block": {"true"}}
	type stored struct{ Key string }
	i := 0
	for s, err := range stream[stored](ctx, n, "block/put", args, up) {
		if err != nil {
			return err
		}
		c, err := api.ParseCid(s.Key)
		if err != nil || i == len(bs) || !bytes.Equal(c.Hash(), bs[i].Cid().Hash()) {
			return errors.Join(api.Internal.Errorf("block/put: the IPFS node stored %q as block %d of %d", s.Key, i, len(bs)), err)
		}
		i++
	}
	if i < len(bs) {
		return api.Internal.Errorf("block/put: the IPFS node stored %d of %d blocks", i, len(bs))
	}
	return nil
}

// form is blocks as the files of a form.
func form(bs []blocks.Block) (*upload, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, b := range bs {
		part, err := w.CreateFormFile("file", b.Cid().String())
		if err == nil {
			_, err = part.Write(b.RawData())
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return &upload{&buf, w.FormDataContentType()}, nil
}

// Commit implements ipfsconn.Add.
func (a *add) Commit(ctx context.Context, root api.Cid) error {
	if a.ended {
		return api.Conflict.Errorf("the add has ended")
	}
	if !root.Defined() {
		return a.Abort()
	}
	if err := a.n.commit(ctx, root); err != nil {
		return err
	}
	return a.Abort() // what is pinned needs no more protection
}

func (n *Node) commit(ctx context.Context, root api.Cid) error {
	here, err := n.has(ctx, root)
	if err != nil {
		return err
	}
	if !here {
		return api.NotFound.Errorf("the root %s is not among the blocks", root)
	}
	mode, pinned, err := n.PinStatus(ctx, root)
	if err != nil {
		return err
	}
	// The mark first: without its pin it says nothing, and of one that is there it keeps
	// off an unpin that is on its way.
	before := pinned
	if pinned {
		if old, marked, err := n.marked(ctx, root); err != nil {
			return err
		} else if marked {
			before = old.Before
		}
	}
	if err := n.mark(ctx, api.Mark{Cid: root, Since: time.Now(), Before: before}); err != nil {
		return err
	}
	if pinned && mode == api.PinRecursive {
		// An unpin may have come before the mark.
		if mode, pinned, err = n.PinStatus(ctx, root); err != nil || pinned && mode == api.PinRecursive {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(n.o.PinTimeout, func() { cancel(errStalled) })
	defer stall.Stop()
	if err := n.pinAdd(ctx, root, api.PinRecursive, stall, func(uint64) {}); err != nil {
		return lost(ctx, err, api.CauseStalled)
	}
	n.pins.set(root, api.PinRecursive, true)
	return nil
}

// Abort implements ipfsconn.Add.
func (a *add) Abort() error {
	if a.ended {
		return nil
	}
	a.ended = true
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	a.n.adds--
	a.n.granted -= a.grant
	return nil
}
