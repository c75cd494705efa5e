package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// directory is a peer's configuration and data directory.
type directory string

func (d directory) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

func (d directory) identity() string     { return d.path("identity.json") }
func (d directory) dataIdentity() string { return d.path("ipfs", "identity.json") }
func (d directory) cluster() string      { return d.path("cluster.json") }
func (d directory) raft() string         { return d.path("raft") }
func (d directory) state() string        { return d.path("state") }
func (d directory) ipfs() string         { return d.path("ipfs") }
func (d directory) tracker() string      { return d.path("tracker") }

// initialised tells whether the directory belongs to a peer already: its settings are
// the last file that init and join write.
func (d directory) initialised() (bool, error) { return config.Exists(string(d)) }

// identities are the two keys of a peer.
type identities struct{ cluster, data p2p.Identity }

// makeIdentities reads the peer's keys, making those that are not there: an identity
// that was put into a new directory is kept.
func (d directory) makeIdentities() (ids identities, made bool, err error) {
	if err := os.MkdirAll(d.ipfs(), 0o700); err != nil {
		return ids, false, err
	}
	for _, one := range []struct {
		file string
		id   *p2p.Identity
	}{{d.identity(), &ids.cluster}, {d.dataIdentity(), &ids.data}} {
		*one.id, err = p2p.LoadIdentity(one.file)
		if errors.Is(err, fs.ErrNotExist) {
			made = true
			if *one.id, err = p2p.NewIdentity(); err == nil {
				err = one.id.Save(one.file)
			}
		}
		if err != nil {
			return ids, made, err
		}
	}
	return ids, made, nil
}

// adoptIdentity makes the identity of CLUSTER_ID and CLUSTER_PRIVATEKEY, where they are
// set, that of a peer which has none yet. That of any other they must be: a cluster
// knows a peer by its identity.
func (d directory) adoptIdentity(environ []string) error {
	var id, key string
	for _, s := range environ {
		switch name, value, _ := strings.Cut(s, "="); name {
		case config.EnvID:
			id = value
		case config.EnvPrivateKey:
			key = value
		}
	}
	if id == "" && key == "" {
		return nil
	}
	if id == "" || key == "" {
		return fmt.Errorf("reading the identity: set both %s and %s, or neither", config.EnvID, config.EnvPrivateKey)
	}
	given, err := p2p.ParseIdentity(id, key)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", config.EnvID, config.EnvPrivateKey, err)
	}
	own, err := p2p.LoadIdentity(d.identity())
	if errors.Is(err, fs.ErrNotExist) {
		return given.Save(d.identity())
	}
	if err == nil && own.ID != given.ID {
		err = fmt.Errorf("%s is %s, but %s holds the identity of %s: unset the variables, or make a new directory", config.EnvID, given.ID, d, own.ID)
	}
	return err
}

func (d directory) loadIdentities() (ids identities, err error) {
	if ids.cluster, err = p2p.LoadIdentity(d.identity()); err != nil {
		return ids, err
	}
	ids.data, err = p2p.LoadIdentity(d.dataIdentity())
	return ids, err
}

// lock keeps a second process off the directory until release is called.
func (d directory) lock() (release func(), err error) {
	f, err := os.OpenFile(d.path("cluster.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the directory: %s is in use by another process", string(d))
	}
	return func() { f.Close() }, nil
}
