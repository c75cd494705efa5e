package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// stoodFile is where a follower keeps where its state stood.
const stoodFile = "stood.json"

// A standing is where the state stood when a member's statement said last that this is
// right, or when a copy began. The statement tells under which key of the cluster.
type standing struct {
	Index     uint64 `json:"index"`
	Digest    []byte `json:"digest"`
	Statement []byte `json:"statement"`
}

// trust remembers that the state, as it stands, is right by what members say under the key
// of m. The caller holds mu.
func (f *Follower) trust(m message) error {
	f.unsure, f.stood = false, f.st.Digest()
	data, err := json.Marshal(standing{f.stood.Index, f.stood.Pins[:], m.raw})
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(f.dir, stoodFile), data); err != nil {
		return fmt.Errorf("keep where the state stood: %w", err)
	}
	return nil
}

// loadStood reads what trust wrote. Under another key of the cluster than that of now
// it says nothing, but that the state is in doubt.
func (f *Follower) loadStood() error {
	data, err := os.ReadFile(filepath.Join(f.dir, stoodFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s standing
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s: %w", stoodFile, err)
	}
	if _, err := open(f.judge.verifier, s.Statement); err != nil {
		f.unsure = errors.Is(err, p2p.ErrKey)
		return nil
	}
	f.stood.Index = s.Index
	f.stood.Pins, err = digest(s.Digest)
	return err
}

// stands is where the state stands, or stood before a copy that broke off.
func (f *Follower) stands() state.Digest {
	if own := f.st.Digest(); own.Index > 0 {
		return own
	}
	return f.stood
}
