package feed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pinfold-cluster/pinfold/api"
)

// shareVersion is that of the file.
const shareVersion = 1

// OpenShare reads what the follower self took before; without a file it is nothing. The error is Unsupported for the file of a newer
// program, Internal for a damaged one: without it, all would be chosen afresh.
func OpenShare(file string, self api.PeerID) (*Share, error) {
	s := &Share{file: file, self: self, waits: waits(self), now: taken{Part: -1}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the share: %w", err)
	}
	if s.now, err = parseTaken(b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

func parseTaken(b []byte) (taken, error) {
	var t taken
	if err := api.Decode(b, &t); err != nil {
		return taken{}, api.Internal.Errorf("the share is damaged: %v", err)
	}
	if t.Version != shareVersion {
		return taken{}, api.Unsupported.Errorf("a share of format %d: this program reads format %d", t.Version, shareVersion)
	}
	list := t.Whole
	t.Whole = nil
	for _, r := range list {
		if r < 0 || r >= shareRanges || t.whole.has(r) {
			return taken{}, api.Internal.Errorf("the share is damaged: range %d", r)
		}
		t.take(r)
	}
	if t.Part < -1 || t.Part >= shareRanges {
		return taken{}, api.Internal.Errorf("the share is damaged: range %d", t.Part)
	}
	return t, nil
}

// save puts t under the name file, whole or not at all.
func (t taken) save(file string) error {
	t.Version = shareVersion
	b, err := api.Encode(t)
	if err != nil {
		return err
	}
	if err := writeFile(file, b); err != nil {
		return fmt.Errorf("write the share: %w", err)
	}
	return nil
}
