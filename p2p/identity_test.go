package p2p

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity_RoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity.json")
	if _, err := LoadIdentity(file); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v, want fs.ErrNotExist", err)
	}
	want := newIdentity(t)
	if err := want.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := LoadIdentity(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || !got.Key.Equals(want.Key) {
		t.Fatalf("read back %s, want %s", got.ID, want.ID)
	}
	ownerOnly(t, file)
}

func TestIdentity_LoadRefuses(t *testing.T) {
	one, other := newIdentity(t), newIdentity(t)
	file := filepath.Join(t.TempDir(), "identity.json")
	if err := one.Save(file); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data string
		want []string
	}{
		"another's ID": {strings.Replace(string(good), one.ID.String(), other.ID.String(), 1),
			[]string{one.ID.String(), other.ID.String()}},
		"no JSON":   {"x", []string{file}},
		"no key":    {`{"id":"` + one.ID.String() + `"}`, []string{"private key"}},
		"no base64": {`{"id":"` + one.ID.String() + `","private_key":"*"}`, []string{"private key"}},
		"no ID":     {`{}`, []string{"peer ID"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadIdentity(file)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want it to name %s", err, want)
				}
			}
		})
	}
}

func newIdentity(t testing.TB) Identity {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func ownerOnly(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Fatalf("mode of %s is %o, want 600", file, got)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Fatalf("left beside it: %v %v", entries, err)
	}
}
