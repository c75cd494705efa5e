package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// An older backup stays as it was unless the new one is whole.
func TestExport_KeepsTheOlderFileWhereItFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errw bytes.Buffer
	// No peer has been made there.
	if code := execute(t.Context(), []string{"--config", filepath.Join(dir, "none"), "state", "export", "--file", file}, &out, &errw); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, errw.String())
	}
	holds(t, file, "old")
	failed := errors.New("broke off")
	if err := writeWhole(file, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, failed)
	}); !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	holds(t, file, "old")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A link keeps leading to the file, and what is no file is written to as it is.
func TestWriteWhole_GoesWhereTheNameLeads(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "backup"), filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} { // a link to nothing, then to a file
		if err := writeWhole(link, writer(text)); err != nil {
			t.Fatal(err)
		}
		holds(t, file, text)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link has become %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v %v", info.Mode(), err)
	}
	if err := writeWhole(os.DevNull, writer("gone")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s has become %v %v", os.DevNull, info.Mode(), err)
	}
}

func writer(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func holds(t *testing.T, file, want string) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s holds %q %v, want %q", file, got, err, want)
	}
}
