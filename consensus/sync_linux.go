package consensus

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes durable what was written to f, whose length has not changed.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
