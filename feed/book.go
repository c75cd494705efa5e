package feed

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	// bookFile is where a follower keeps the addresses of others.
	bookFile = "neighbours"
	maxBook  = 256
	// When one that could not be reached, or had no room, is tried again.
	tryMin = time.Second
	tryMax = 30 * time.Minute
	// tryAlone is how long a follower without any neighbour waits at most.
	tryAlone = 15 * time.Second
	// refusedFile holds when a member had no place for this follower last.
	refusedFile = "refused"
)

// A book is the peers that a follower knows of. It belongs to one goroutine.
type book struct {
	file   string
	log    *slog.Logger
	by     map[api.PeerID]*contact
	saved  []byte
	misses misses

	refused time.Time // when a member had no place last; zero: the last one had
	noted   time.Time // what of it is in its file
}

type contact struct {
	peer.AddrInfo
	member bool // it is told of by the link, or has shown its certificate
	retry  backoff
	met    bool // it has answered
}

func openBook(file string, members []peer.AddrInfo, log *slog.Logger) (b *book, err error) {
	b = &book{file: file, log: log, by: map[api.PeerID]*contact{}, misses: misses{}}
	for _, m := range members {
		b.learn(m).member = true
	}
	if b.refused, err = readTime(b.refusedFile()); err != nil {
		return nil, err
	}
	b.noted = b.refused
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	known, err := p2p.ReadAddresses(bytes.NewReader(data))
	if err != nil {
		log.Warn("some known addresses are left out", "err", err)
	}
	for _, info := range known {
		b.learn(info)
	}
	return b, nil
}

// learn adds addresses. Where the book is full, another that never answered goes. Anybody
// may have told them: the first ones of a member, or of who has answered, stay.
func (b *book) learn(info peer.AddrInfo) *contact {
	p := b.by[info.ID]
	if p == nil {
		if len(b.by) >= maxBook {
			b.forgetOne()
		}
		p = &contact{AddrInfo: peer.AddrInfo{ID: info.ID}}
		b.by[info.ID] = p
	}
	fresh := slices.DeleteFunc(slices.Clone(info.Addrs), func(a api.Multiaddr) bool { return slices.ContainsFunc(p.Addrs, a.Equal) })
	at := 0
	if p.member || p.met {
		at = min(len(p.Addrs), maxAddresses)
	}
	p.Addrs = slices.Insert(p.Addrs, at, fresh...)
	p.Addrs = p.Addrs[:min(len(p.Addrs), 2*maxAddresses)]
	return p
}

func (b *book) forgetOne() {
	var worst *contact
	for _, p := range b.by {
		if p.member {
			continue
		}
		if worst == nil || worst.met && !p.met || worst.met == p.met && p.retry.wait > worst.retry.wait {
			worst = p
		}
	}
	if worst != nil {
		delete(b.by, worst.ID)
	}
}

// due lists who may be tried now, in no order. Who is alone is less patient.
func (b *book) due(now time.Time, alone bool) (members, others []*contact) {
	for _, p := range b.by {
		next := p.retry.next
		if alone && p.retry.wait > tryAlone {
			next = next.Add(tryAlone - p.retry.wait)
		}
		if now.Before(next) || len(b.whereTo(p, now)) == 0 {
			continue
		}
		if p.member {
			members = append(members, p)
		} else {
			others = append(others, p)
		}
	}
	for _, list := range [][]*contact{members, others} {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return members, others
}

// whereTo gives the addresses to call p at now.
func (b *book) whereTo(p *contact, now time.Time) []api.Multiaddr {
	if p.member || p.met {
		return slices.Clone(p.Addrs)
	}
	return b.misses.worth(p.Addrs, now)
}

// save writes what has changed.
func (b *book) save() {
	if !b.noted.Equal(b.refused) {
		b.noted = b.refused
		if err := writeFile(b.refusedFile(), []byte(b.refused.UTC().Format(time.RFC3339))); err != nil {
			b.log.Error("when a peer of the cluster had no place is not kept", "err", err)
		}
	}
	var infos []peer.AddrInfo
	for _, p := range b.by {
		infos = append(infos, p.AddrInfo)
	}
	slices.SortFunc(infos, func(x, y peer.AddrInfo) int { return bytes.Compare([]byte(x.ID), []byte(y.ID)) })
	var buf bytes.Buffer
	err := p2p.WriteAddresses(&buf, infos)
	if err == nil && bytes.Equal(buf.Bytes(), b.saved) {
		return
	}
	if err == nil {
		err = writeFile(b.file, buf.Bytes())
	}
	if err != nil {
		b.log.Error("known addresses are not kept", "err", err)
		return
	}
	b.saved = buf.Bytes()
}

func (b *book) refusedFile() string { return filepath.Join(filepath.Dir(b.file), refusedFile) }

// readTime reads a file that holds a time; zero where there is none that can be read.
func readTime(file string) (time.Time, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, string(bytes.TrimSpace(data)))
	if err != nil {
		return time.Time{}, nil
	}
	return t, nil
}
