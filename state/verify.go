package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
)

// Verify reads the whole database, at one moment, and computes anew what is kept:
// digest, counts, secondary keys. The error, Internal, names whatever differs or
// cannot be read. It takes a few microseconds a pin.
func (s *State) Verify(ctx context.Context) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	snap := d.db.NewSnapshot()
	err = verify(ctx, snap)
	return errors.Join(err, snap.Close())
}

// found is what a database holds, computed from its rows.
type found struct {
	head     head
	held     map[api.PeerID]Stats
	expected sum // of the secondary keys that the records ask for
	index    sum // of those that are there
}

func verify(ctx context.Context, r pebble.Reader) error {
	kept, err := readHead(r)
	if err != nil {
		return err
	}
	f := found{head: head{applied: kept.applied}, held: map[api.PeerID]Stats{}}
	if err := f.read(ctx, r); err != nil {
		return err
	}
	var faults []error
	if f.head.pins != kept.pins {
		faults = append(faults, errors.New("the sum of the pins is not what was kept"))
	}
	if f.head.sessions != kept.sessions {
		faults = append(faults, errors.New("the sum of sessions, members and credentials is not what was kept"))
	}
	if f.head.stats != kept.stats {
		faults = append(faults, fmt.Errorf("counted %+v, kept %+v", f.head.stats, kept.stats))
	}
	if f.index != f.expected {
		faults = append(faults, errors.New("the secondary keys are not those of the records"))
	}
	err = eachRow(r, []byte{heldKind}, func(k, v []byte) error {
		p := api.PeerID(k[1:])
		st, ok := decodeStats(v)
		if !ok || st != f.held[p] {
			faults = append(faults, fmt.Errorf("peer %q holds %+v, kept %+v", p, f.held[p], st))
		}
		delete(f.held, p)
		return nil
	})
	if err != nil {
		return err
	}
	for p, st := range f.held {
		faults = append(faults, fmt.Errorf("peer %q holds %+v, of which nothing is kept", p, st))
	}
	if len(faults) > 0 {
		return api.Internal.Errorf("the state at log index %d is damaged: %w", kept.applied, errors.Join(faults...))
	}
	return nil
}

func (f *found) read(ctx context.Context, r pebble.Reader) error {
	var d decoder
	rows := 0
	return eachRow(r, nil, func(k, v []byte) error {
		if rows++; rows%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		switch k[0] {
		case pinKind:
			p, err := readRecord(&d, k, v)
			if err != nil {
				return err
			}
			f.head.pins.add(k, v)
			f.count(p)
		case holderKind, nameKind, metadataKind, expiryKind, createdKind, requestKind, tagKind:
			f.index.add(k, nil)
		case sessionKind, outcomeKind, memberKind, removedKind, credentialKind, clusterKeyKind:
			f.head.sessions.add(k, v)
		case headKind, digestsKind, heldKind:
		default:
			return api.Internal.Errorf("the row %x is of no known kind", k)
		}
		return nil
	})
}

func (f *found) count(p api.Pin) {
	f.head.stats.Pins++
	f.head.stats.Bytes += p.Size
	for _, h := range holders(p) {
		st := f.held[h]
		st.Pins++
		st.Bytes += p.Size
		f.held[h] = st
	}
	indexKeys(p, func(k []byte) { f.expected.add(k, nil) })
}
