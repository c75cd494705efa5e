package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestExecute_FullDiskIsOneLine(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("this user cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) }) // Pebble's files stay open after a fault
	run := func(command ...string) (code int, told string) {
		var out, errw bytes.Buffer
		code = execute(t.Context(), append([]string{"-c", filepath.Join(disk, "peer")}, command...), &out, &errw)
		return code, errw.String()
	}
	for _, command := range [][]string{{"init"}, {"state", "export"}} {
		if code, told := run(command...); code != 0 {
			t.Fatalf("%v: %d %s", command, code, told)
		}
	}
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // ends with the disk's room
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	code, told := run("state", "export")
	if code != exitFailed || strings.Count(told, "\n") != 1 || !strings.Contains(told, "no space left on device") || !strings.Contains(told, "free space there") {
		t.Fatalf("with a full disk: %d %q, want %d and one line that tells what to do", code, told, exitFailed)
	}
}
