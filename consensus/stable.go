package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Raft's keys for its vote, and ours for both in one value.
const (
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
	keyVote          = "Vote"
)

// A stableStore keeps raft's term and vote. Raft writes the vote as two values, term
// first; here the term waits for the candidate and both go in one transaction, so that
// no crash pairs a new term with an old candidate.
type stableStore struct {
	*raftboltdb.BoltStore
	fault *fault
	stall time.Duration

	mu   sync.Mutex
	term uint64 // of the vote whose candidate is still to come
}

// SetUint64 implements raft.StableStore.
func (s *stableStore) SetUint64(key []byte, v uint64) error {
	if string(key) == keyVoteTerm {
		s.mu.Lock()
		s.term = v
		s.mu.Unlock()
		return nil
	}
	return s.set(key, binary.BigEndian.AppendUint64(nil, v))
}

// Set implements raft.StableStore.
func (s *stableStore) Set(key, v []byte) error {
	if string(key) == keyVoteCandidate {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.set([]byte(keyVote), append(binary.BigEndian.AppendUint64(nil, s.term), v...))
	}
	return s.set(key, v)
}

func (s *stableStore) set(key, v []byte) error {
	done := s.fault.watch(s.stall, "storing a raft vote or term")
	err := s.BoltStore.Set(key, v)
	done()
	if err != nil {
		s.fault.stop(fmt.Errorf("store raft's %s: %w", key, err))
	}
	return nil
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	if string(key) == keyVoteTerm {
		vote, err := s.vote()
		if err != nil {
			return 0, err
		}
		return binary.BigEndian.Uint64(vote), nil
	}
	v, err := s.get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		s.fault.stop(fmt.Errorf("raft's %s has %d bytes, not 8", key, len(v)))
	}
	return binary.BigEndian.Uint64(v), nil
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) == keyVoteCandidate {
		vote, err := s.vote()
		if err != nil {
			return nil, err
		}
		return vote[8:], nil
	}
	return s.get(key)
}

// vote gives the term, in 8 bytes, and the candidate.
func (s *stableStore) vote() ([]byte, error) {
	v, err := s.get([]byte(keyVote))
	if err != nil {
		return nil, err
	}
	if len(v) < 8 {
		s.fault.stop(fmt.Errorf("raft's vote has %d bytes", len(v)))
	}
	return v, nil
}

// get passes on only that there is no such key.
func (s *stableStore) get(key []byte) ([]byte, error) {
	v, err := s.BoltStore.Get(key)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		s.fault.stop(fmt.Errorf("read raft's %s: %w", key, err))
	}
	return v, err
}
