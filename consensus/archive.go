package consensus

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/pinfold-cluster/pinfold/api"
)

// An archive carries a directory of files, as a snapshot does on its way to a peer:
//
//	"pinfsnp1"  index (8 bytes)
//	each file:  'F'  length of name (1)  name  length (8)  content  SHA-256 of all from 'F' (32)
//	            'E'  number of files (8)  SHA-256 of the start and of the files' sums (32)
//
// Numbers are big-endian. The index is the one that the state inside has.
const (
	archiveMagic = "pinfsnp1"
	markFile     = 'F'
	markEnd      = 'E'
	maxFiles     = 1 << 20
)

// archiveSize tells how many bytes writeArchive writes for dir.
func archiveSize(dir string) (int64, error) {
	files, err := plainFiles(dir)
	if err != nil {
		return 0, err
	}
	size := int64(len(archiveMagic) + 8 + 1 + 8 + sha256.Size)
	for _, f := range files {
		size += int64(1+1+len(f.Name())+8+sha256.Size) + f.Size()
	}
	return size, nil
}

// writeArchive writes the files of dir, which hold the state at index.
func writeArchive(w io.Writer, dir string, index uint64) error {
	files, err := plainFiles(dir)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint64([]byte(archiveMagic), index)
	if _, err := w.Write(head); err != nil {
		return err
	}
	all := sha256.New()
	all.Write(head)
	for _, f := range files {
		sum, err := writeFile(w, dir, f)
		if err != nil {
			return err
		}
		all.Write(sum)
	}
	end := binary.BigEndian.AppendUint64([]byte{markEnd}, uint64(len(files)))
	_, err = w.Write(all.Sum(end))
	return err
}

func writeFile(w io.Writer, dir string, info os.FileInfo) (sum []byte, err error) {
	f, err := os.Open(filepath.Join(dir, info.Name()))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := append([]byte{markFile, byte(len(info.Name()))}, info.Name()...)
	head = binary.BigEndian.AppendUint64(head, uint64(info.Size()))
	h := sha256.New()
	both := io.MultiWriter(w, h)
	if _, err := both.Write(head); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(both, f, info.Size()); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	sum = h.Sum(nil)
	_, err = w.Write(sum)
	return sum, err
}

// plainFiles lists dir in order of name. It holds nothing but files.
func plainFiles(dir string) ([]os.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make([]os.FileInfo, len(entries))
	for i, e := range entries {
		if files[i], err = e.Info(); err != nil {
			return nil, err
		}
		if !files[i].Mode().IsRegular() || len(e.Name()) > 255 {
			return nil, fmt.Errorf("%s in a snapshot is no plain file", filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// An archiveReader reads what writeArchive wrote. Whatever is wrong with the archive
// gives an error that is Invalid.
type archiveReader struct {
	r     *bufio.Reader
	all   hash.Hash
	index uint64 // of the state inside
}

// openArchive reads the archive's start.
func openArchive(r io.Reader) (*archiveReader, error) {
	a := &archiveReader{r: bufio.NewReaderSize(r, 64<<10), all: sha256.New()}
	head := make([]byte, len(archiveMagic)+8)
	if _, err := io.ReadFull(a.r, head); err != nil {
		return nil, broken(err)
	}
	if string(head[:len(archiveMagic)]) != archiveMagic {
		return nil, api.Invalid.Errorf("not a snapshot archive")
	}
	a.index = binary.BigEndian.Uint64(head[len(archiveMagic):])
	a.all.Write(head)
	return a, nil
}

// unpack writes the files into dir, which is empty, and makes them durable; into ""
// it only checks them. On an error dir is left as far as it got.
func (a *archiveReader) unpack(dir string) error {
	for n := uint64(0); n <= maxFiles; n++ {
		mark, err := a.r.ReadByte()
		if err != nil {
			return broken(err)
		}
		switch mark {
		case markFile:
			if err := a.file(dir); err != nil {
				return err
			}
		case markEnd:
			if err := a.end(n); err != nil {
				return err
			}
			if dir == "" {
				return nil
			}
			return syncDir(dir)
		default:
			return api.Invalid.Errorf("snapshot archive has mark %#x", mark)
		}
	}
	return api.Invalid.Errorf("snapshot archive has over %d files", maxFiles)
}

// file reads one file, past its mark.
func (a *archiveReader) file(dir string) error {
	length, err := a.r.ReadByte()
	if err != nil {
		return broken(err)
	}
	head := make([]byte, int(length)+8)
	if _, err := io.ReadFull(a.r, head); err != nil {
		return broken(err)
	}
	name, size := string(head[:length]), binary.BigEndian.Uint64(head[length:])
	if name == "" || name == "." || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return api.Invalid.Errorf("snapshot archive has a file named %q", name)
	}
	if size > 1<<62 {
		return api.Invalid.Errorf("snapshot archive has a file of %d bytes", size)
	}
	h := sha256.New()
	h.Write([]byte{markFile, length})
	h.Write(head)
	if err := a.content(dir, name, int64(size), h); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(a.r, want); err != nil {
		return broken(err)
	}
	sum := h.Sum(nil)
	if !bytes.Equal(sum, want) {
		return api.Invalid.Errorf("%s in the snapshot archive does not match its checksum", name)
	}
	a.all.Write(sum)
	return nil
}

func (a *archiveReader) content(dir, name string, size int64, h hash.Hash) (err error) {
	var w io.Writer = h
	if dir != "" {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Sync(), f.Close()) }()
		w = io.MultiWriter(f, h)
	}
	if n, err := io.CopyN(w, a.r, size); err != nil {
		return fmt.Errorf("%s in the snapshot archive, %d of %d bytes: %w", name, n, size, broken(err))
	}
	return nil
}

// end reads the archive's end, past its mark.
func (a *archiveReader) end(files uint64) error {
	tail := make([]byte, 8+sha256.Size)
	if _, err := io.ReadFull(a.r, tail); err != nil {
		return broken(err)
	}
	if n := binary.BigEndian.Uint64(tail); n != files {
		return api.Invalid.Errorf("snapshot archive has %d files, not %d", files, n)
	}
	if !bytes.Equal(a.all.Sum(nil), tail[8:]) {
		return api.Invalid.Errorf("snapshot archive does not match its checksum")
	}
	if _, err := a.r.ReadByte(); !errors.Is(err, io.EOF) {
		return api.Invalid.Errorf("snapshot archive goes on past its end")
	}
	return nil
}

// broken makes an archive that ends too early Invalid.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return api.Invalid.Errorf("snapshot archive ends early")
	}
	return fmt.Errorf("read snapshot archive: %w", err)
}
