package blocks

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// listPage is how many blocks List reads before it yields them.
const listPage = 1024

// List yields the blocks in order of their hashes, as raw CIDs. It reads page by page,
// so that a slow caller holds nothing up.
func (s *Store) List(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		from := []byte{prefixIndex}
		for from != nil {
			page, next, err := s.listFrom(ctx, from)
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if err != nil {
				yield(cid.Undef, fmt.Errorf("list blocks: %w", err))
				return
			}
			from = next
		}
	}
}

// listFrom reads a page, and the key to go on from, nil at the end.
func (s *Store) listFrom(ctx context.Context, from []byte) (page []cid.Cid, next []byte, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, UpperBound: []byte{prefixIndex + 1}})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		key := append([]byte(nil), it.Key()...)
		if len(page) == listPage {
			return page, key, ctx.Err()
		}
		page = append(page, cid.NewCidV1(cid.Raw, multihash.Multihash(key[1:])))
	}
	return page, nil, errors.Join(it.Error(), ctx.Err())
}

// Count tells how many blocks there are.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{prefixIndex}, UpperBound: []byte{prefixIndex + 1}})
	if err != nil {
		return 0, fmt.Errorf("count blocks: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n%listPage == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, it.Error()
}
