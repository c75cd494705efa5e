package consensus

import "sort"

// logSizes are the sizes of the entries of a log, which have no gaps.
type logSizes struct {
	before uint64  // index before that of ends[0]
	base   int64   // bytes of all entries up to before, since counting began
	ends   []int64 // bytes of all entries up to each
}

// last is the index of the newest entry.
func (s *logSizes) last() uint64 { return s.before + uint64(len(s.ends)) }

// bounds tells the first and last index, both 0 where there are no entries.
func (s *logSizes) bounds() (first, last uint64) {
	if len(s.ends) == 0 {
		return 0, 0
	}
	return s.before + 1, s.last()
}

// upTo tells the bytes of all entries up to index.
func (s *logSizes) upTo(index uint64) int64 {
	if index <= s.before {
		return s.base
	}
	return s.ends[min(index, s.last())-s.before-1]
}

// add notes the size of the entry at index. One that does not follow the last starts
// the log afresh: raft does so after a snapshot.
func (s *logSizes) add(index uint64, size int64) {
	if len(s.ends) == 0 || index != s.last()+1 {
		*s = logSizes{before: index - 1, ends: s.ends[:0]}
	}
	s.ends = append(s.ends, s.upTo(s.last())+size)
}

// remove drops the entries lo to hi, which are at one end of the log.
func (s *logSizes) remove(lo, hi uint64) {
	lo, hi = max(lo, s.before+1), min(hi, s.last())
	switch {
	case len(s.ends) == 0 || lo > hi:
	case hi == s.last():
		s.ends = s.ends[:lo-s.before-1]
	default:
		s.base = s.upTo(hi)
		s.ends = append(s.ends[:0], s.ends[hi-s.before:]...)
		s.before = hi
	}
}

// trailing tells how many of the newest entries take at most limit bytes.
func (s *logSizes) trailing(limit int64) (entries uint64) {
	n := len(s.ends)
	if n == 0 {
		return 0
	}
	from := s.ends[n-1] - limit // what is kept begins here or later
	return uint64(n - sort.Search(n, func(i int) bool {
		return s.upTo(s.before+uint64(i)) >= from
	}))
}

// since tells how many entries there are past index, and their bytes.
func (s *logSizes) since(index uint64) (entries uint64, bytes int64) {
	if len(s.ends) == 0 || index >= s.last() {
		return 0, 0
	}
	return s.last() - max(index, s.before), s.upTo(s.last()) - s.upTo(index)
}
