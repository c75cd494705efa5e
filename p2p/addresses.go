package p2p

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Bounds of a list of addresses.
const (
	maxAddressLine      = 1 << 10 // bytes
	maxKnownPeers       = 4096
	maxAddressesPerPeer = 16
)

// ReadAddresses reads a list of peers: a multiaddr with /p2p a line, the first to be
// tried first; empty lines and those that begin with # are left out. It returns what
// it could read and an error that names each line it could not.
func ReadAddresses(r io.Reader) ([]peer.AddrInfo, error) {
	var faults []error
	b := &book{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxAddressLine), maxAddressLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		info, err := peer.AddrInfoFromString(line)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %q: %w", n, line, err))
			continue
		}
		b.add(*info)
	}
	if err := lines.Err(); err != nil {
		faults = append(faults, err)
	}
	return b.peers, errors.Join(faults...)
}

// WriteAddresses writes what ReadAddresses reads.
func WriteAddresses(w io.Writer, peers []peer.AddrInfo) error {
	for _, p := range peers {
		addrs, err := peer.AddrInfoToP2pAddrs(&p)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if _, err := fmt.Fprintln(w, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// book is the list of known peers and addresses, kept in a file.
type book struct {
	file string // "" nowhere

	mu    sync.Mutex
	peers []peer.AddrInfo // in order of priority
	saved []byte          // what the file holds
}

// openBook reads the file, which need not exist. It returns a usable book even with
// an error, which is then about lines that could not be read.
func openBook(file string) (*book, error) {
	b := &book{file: file}
	if file == "" {
		return b, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("known addresses: %w", err)
	}
	peers, err := ReadAddresses(bytes.NewReader(data))
	b.peers, b.saved = peers, data
	if err != nil {
		return b, fmt.Errorf("known addresses %s: %w", file, err)
	}
	return b, nil
}

// add puts addresses behind those known.
func (b *book) add(info peer.AddrInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.entry(info.ID); p != nil {
		p.Addrs = merge(p.Addrs, info.Addrs)
	}
}

// learn puts addresses that the peer just told of itself before those known, which
// stay, up to a number, in case it goes back to one. Names stay in any case: an
// operator wrote them, the peer itself knows numbers only.
func (b *book) learn(info peer.AddrInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.entry(info.ID)
	if p == nil {
		return
	}
	var names, numbers []multiaddr.Multiaddr
	for _, a := range p.Addrs {
		if isName(a) {
			names = append(names, a)
		} else {
			numbers = append(numbers, a)
		}
	}
	p.Addrs = merge(nil, names, info.Addrs, numbers)
}

// entry returns the peer's place in the list, made at its end where there is none;
// nil once the list is full.
func (b *book) entry(id peer.ID) *peer.AddrInfo {
	i := slices.IndexFunc(b.peers, func(p peer.AddrInfo) bool { return p.ID == id })
	if i < 0 {
		if len(b.peers) >= maxKnownPeers {
			return nil
		}
		i = len(b.peers)
		b.peers = append(b.peers, peer.AddrInfo{ID: id})
	}
	return &b.peers[i]
}

func (b *book) remove(gone func(peer.ID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peers = slices.DeleteFunc(b.peers, func(p peer.AddrInfo) bool { return gone(p.ID) })
}

// all returns a copy of the list.
func (b *book) all() []peer.AddrInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	peers := slices.Clone(b.peers)
	for i := range peers {
		peers[i].Addrs = slices.Clone(peers[i].Addrs)
	}
	return peers
}

func (b *book) addrs(id peer.ID) []multiaddr.Multiaddr {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		if p.ID == id {
			return slices.Clone(p.Addrs)
		}
	}
	return nil
}

// save writes the file if the list has changed.
func (b *book) save() error {
	if b.file == "" {
		return nil
	}
	var buf bytes.Buffer
	if err := WriteAddresses(&buf, b.all()); err != nil {
		return fmt.Errorf("known addresses: %w", err)
	}
	if bytes.Equal(buf.Bytes(), b.saved) {
		return nil
	}
	if err := writeFile(b.file, buf.Bytes()); err != nil {
		return fmt.Errorf("write known addresses: %w", err)
	}
	b.saved = buf.Bytes()
	return nil
}

func merge(lists ...[]multiaddr.Multiaddr) []multiaddr.Multiaddr {
	var out []multiaddr.Multiaddr
	for _, a := range slices.Concat(lists...) {
		if len(out) < maxAddressesPerPeer && len(a) > 0 && !slices.ContainsFunc(out, a.Equal) {
			out = append(out, a)
		}
	}
	return out
}

func isName(a multiaddr.Multiaddr) bool {
	switch a[0].Protocol().Code {
	case multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6, multiaddr.P_DNSADDR:
		return true
	}
	return false
}
