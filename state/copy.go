package state

import (
	"fmt"
	"path/filepath"
)

// Copy makes of dir, which is empty, a State of its own that holds what has been
// committed, by hard links where it can. What is changed there does not touch s. The
// caller closes it, and removes dir.
func (s *State) Copy(dir string) (*State, error) {
	name := fmt.Sprintf(databaseName, 1)
	if err := s.Checkpoint(filepath.Join(dir, name)); err != nil {
		return nil, err
	}
	if err := writeCurrent(dir, name); err != nil {
		return nil, err
	}
	return Open(dir, s.o, s.log)
}
