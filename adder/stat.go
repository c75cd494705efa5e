package adder

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/ipfs/boxo/files"
)

// stat is what UnixFS 1.5 keeps of a file or directory beside its content, in its root
// node. A mode of 0 and a zero time are not kept.
type stat struct {
	mode  os.FileMode
	mtime time.Time
}

func (s stat) some() bool { return s.mode != 0 || !s.mtime.IsZero() }

// stat is what is to be kept of n.
func (f format) stat(n files.Node) stat {
	s := f.all
	if f.preserveMode {
		s.mode = n.Mode()
	}
	if f.preserveMtime {
		s.mtime = n.ModTime()
	}
	return s
}

// The tags of UnixFS's Data message that s has, and those of its IPFSTimestamp.
const (
	tagMode    = 7<<3 | 0
	tagMtime   = 8<<3 | 2
	tagSeconds = 1<<3 | 0
	tagNanos   = 2<<3 | 5
)

// appendFile ends the Data message of a file. As with Kubo a mode without any
// permission is not kept, unlike a directory's.
func (s stat) appendFile(b []byte) []byte {
	if files.ModePermsToUnixPerms(s.mode) == 0 {
		s.mode = 0
	}
	return s.appendDirectory(b)
}

func (s stat) appendDirectory(b []byte) []byte {
	if s.mode != 0 {
		b = appendNumber(b, tagMode, uint64(files.ModePermsToUnixPerms(s.mode)))
	}
	return s.appendSymlink(b)
}

// appendSymlink ends that of a symlink, which has no mode of its own.
func (s stat) appendSymlink(b []byte) []byte {
	if s.mtime.IsZero() {
		return b
	}
	t := appendNumber(nil, tagSeconds, uint64(s.mtime.Unix()))
	if n := s.mtime.Nanosecond(); n > 0 {
		t = binary.LittleEndian.AppendUint32(append(t, tagNanos), uint32(n))
	}
	return appendBytes(b, tagMtime, t)
}
