package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// configVariable names the file of contexts; configFile is it below the user's
// configuration directory where the variable is not set.
const configVariable = "CLUSTER_CTL_CONFIG"

var configFile = filepath.Join("pinfold", "ctl.json")

// maxConfig bounds that file, in bytes.
const maxConfig = 1 << 20

// access is how to reach a cluster: the flags that say so, and what a context keeps.
type access struct {
	Host      string `json:"host"`
	BasicAuth string `json:"basic_auth,omitempty"` // USER:PASSWORD
	Token     string `json:"token,omitempty"`
	Secret    string `json:"secret,omitempty"` // of the swarm, hexadecimal
	CACert    string `json:"ca_cert,omitempty"`
	HTTPS     bool   `json:"https,omitempty"`
	NoCheck   bool   `json:"no_check_certificate,omitempty"`
	ForceHTTP bool   `json:"force_http,omitempty"`
}

// over is a where it says something, and b elsewhere. Credentials are one thing: a
// password is not sent beside another's token.
func (a access) over(b access) access {
	if a.BasicAuth == "" && a.Token == "" {
		a.BasicAuth, a.Token = b.BasicAuth, b.Token
	}
	a.Host = cmp.Or(a.Host, b.Host)
	a.Secret = cmp.Or(a.Secret, b.Secret)
	a.CACert = cmp.Or(a.CACert, b.CACert)
	a.HTTPS = a.HTTPS || b.HTTPS
	a.NoCheck = a.NoCheck || b.NoCheck
	a.ForceHTTP = a.ForceHTTP || b.ForceHTTP
	return a
}

// contexts are the clusters that a user has named, in a file that only the user reads.
type contexts struct {
	Current  string            `json:"current,omitempty"`
	Contexts map[string]access `json:"contexts"`
	path     string
}

// loadContexts reads the file; where there is none there are no contexts. warn is told
// where others could read credentials in it.
func loadContexts(warn func(string)) (*contexts, error) {
	path := os.Getenv(configVariable)
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("finding the file of contexts: %w; %s can name it", err, configVariable)
		}
		path = filepath.Join(dir, configFile)
	}
	all := &contexts{Contexts: map[string]access{}, path: path}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil && info.Size() > maxConfig {
		err = fmt.Errorf("%s has over %d bytes", path, maxConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the contexts: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		warn(fmt.Sprintf("%s holds credentials and others can read it: chmod 600 it", path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the contexts: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(all); err != nil {
		return nil, fmt.Errorf("reading the contexts: %s: %w; mend it or remove it", path, err)
	}
	if all.Contexts == nil {
		all.Contexts = map[string]access{}
	}
	return all, nil
}

// save writes the file, as a whole or not at all.
func (a *contexts) save() error {
	dir := filepath.Dir(a.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing the contexts: %w", err)
	}
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".ctl-*") // of mode 0600
	if err != nil {
		return fmt.Errorf("writing the contexts: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), a.path)
	}
	if err != nil {
		return fmt.Errorf("writing the contexts: %w", err)
	}
	return nil
}

// get gives the context of that name.
func (a *contexts) get(name string) (access, error) {
	one, ok := a.Contexts[name]
	if ok {
		return one, nil
	}
	names := slices.Sorted(maps.Keys(a.Contexts))
	there := "it names " + strings.Join(names, ", ")
	if len(names) == 0 {
		there = "there is none yet"
	}
	return access{}, fmt.Errorf("%s has no context %q: %s; 'cluster-ctl context add %s --host ADDRESS' makes it", a.path, name, there, name)
}
