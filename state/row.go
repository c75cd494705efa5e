package state

import (
	"bytes"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Row is the record of a CID in the form in which every peer stores it, the same
// bytes everywhere: its revision as a uvarint, then its CBOR. No Value says that there
// is none.
type Row struct {
	Cid   api.Cid
	Value []byte
}

// Changes are what one log entry did to the pinset: a function of the log alone, the
// same on every peer.
type Changes struct {
	Index         uint64   // of the entry
	Before, After [32]byte // Digest.Pins before it and after
	Rows          []Row    // one for each CID it changed
}

// ParseRow reads the record in r. The error is Invalid for one that no peer would have
// stored under that CID, and where there is none; Unsupported for one that this program
// would have stored in another form, as that of a later version.
func ParseRow(r Row) (api.Pin, error) {
	p, _, err := new(decoder).row(r)
	return p, err
}

// row reads r, and gives its value as a slice of its own.
func (d *decoder) row(r Row) (api.Pin, []byte, error) {
	p, err := d.record(r.Value)
	if err != nil {
		return api.Pin{}, nil, api.Invalid.Errorf("the row of %s: %w", r.Cid, err)
	}
	if p.Cid.KeyString() != r.Cid.KeyString() {
		return api.Pin{}, nil, api.Invalid.Errorf("the row of %s is that of %s", r.Cid, p.Cid)
	}
	p, value, err := d.encode(p)
	if err != nil {
		return api.Pin{}, nil, api.Invalid.Errorf("the row of %s: %w", r.Cid, err)
	}
	if !bytes.Equal(value, r.Value) {
		return api.Pin{}, nil, api.Unsupported.Errorf("the record of %s is in a form that this program does not write: a later version may have made it", r.Cid)
	}
	return p, value, nil
}

// Row is what is stored for c as this batch leaves it.
func (b *Batch) Row(c api.Cid) (Row, error) {
	v, err := b.value(c, pinKey(c))
	return Row{Cid: c, Value: v}, err
}

// PutRow makes r what is stored for its CID. An error that is Invalid or Unsupported is
// as ParseRow's: nothing was put, and the batch can go on.
func (b *Batch) PutRow(r Row) error {
	if !r.Cid.Defined() {
		return api.Invalid.Errorf("a row without a CID")
	}
	if r.Value == nil {
		return b.Delete(r.Cid)
	}
	p, value, err := b.dec.row(r)
	if err != nil {
		return err
	}
	return b.put(p, value)
}
