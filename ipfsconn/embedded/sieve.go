package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	pool "github.com/libp2p/go-buffer-pool"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pinfold-cluster/pinfold/api"
)

// What boxo reads of guests. A message of 4 MiB may have 400,000 entries, each of which
// costs some hundred bytes of memory and a lookup or more, and boxo reads one of each stream
// at once.
const (
	guestEntries   = 16384       // of a message: four times what is remembered of a guest's wants
	guestEntryCost = 1 << 10     // bytes, see Spend
	guestSmall     = 64 << 10    // bytes of a message, of which it may send several at a time
	guestLarge     = time.Minute // in which a larger one has to come
)

// guestsAtWork is how many messages of guests boxo works at.
var guestsAtWork = max(2, runtime.GOMAXPROCS(0)/2)

// sieve is a host whose handlers read whole messages of bitswap, and of guests those that
// are worth the work, one after another. It calls no guest that has gone: where that is it
// told itself, and it may be anybody's address.
type sieve struct {
	host.Host
	n      *Node
	atWork chan struct{}

	mu    sync.Mutex
	large map[peer.ID]*turns
}

// turns are those of a guest's streams, to send a large message.
type turns struct {
	taken chan struct{}
	users int // guarded by the sieve's mu
}

func newSieve(n *Node) *sieve {
	return &sieve{Host: n.host, n: n, atWork: make(chan struct{}, guestsAtWork), large: map[peer.ID]*turns{}}
}

// SetStreamHandler implements host.Host.
func (v *sieve) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	v.Host.SetStreamHandler(id, func(s network.Stream) {
		from := s.Conn().RemotePeer()
		if v.n.isMember(from) {
			handle(s)
			return
		}
		sieved := &sievedStream{Stream: s, from: from, of: v, in: bufio.NewReader(s)}
		defer sieved.worked()
		handle(sieved)
	})
}

// Connect implements host.Host. Who was found is called, at the addresses that were found.
func (v *sieve) Connect(ctx context.Context, p peer.AddrInfo) error {
	if len(p.Addrs) == 0 && !v.n.isMember(p.ID) && v.Network().Connectedness(p.ID) != network.Connected {
		return api.Unavailable.Errorf("%s has gone", p.ID)
	}
	return v.Host.Connect(ctx, p)
}

// NewStream implements host.Host.
func (v *sieve) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	if !v.n.isMember(id) {
		ctx = network.WithNoDial(ctx, "guest")
	}
	return v.Host.NewStream(ctx, id, protocols...)
}

// sievedStream is a guest's, of which boxo gets message after message.
type sievedStream struct {
	network.Stream
	from peer.ID
	of   *sieve
	in   *bufio.Reader
	rest []byte // of a message that boxo reads
	done []func()
}

// Read implements network.Stream.
func (s *sievedStream) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		s.worked()
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// worked gives back what the last message took.
func (s *sievedStream) worked() {
	for _, done := range s.done {
		done()
	}
	s.rest, s.done = nil, nil
}

// next reads a message, and returns once boxo may work at it.
func (s *sievedStream) next() error {
	size, err := binary.ReadUvarint(s.in)
	if err != nil {
		return err
	}
	if size > network.MessageSizeMax {
		return fmt.Errorf("a message of %d bytes", size)
	}
	member := s.of.n.isMember(s.from) // as has become known
	if size > guestSmall && !member {
		if err := s.begin(int(size)); err != nil {
			return err
		}
	}
	whole := pool.Get(binary.MaxVarintLen64 + int(size)) // some are megabytes: not for the collector
	s.done = append(s.done, func() { pool.Put(whole) })
	header := binary.PutUvarint(whole, size)
	message := whole[header : header+int(size)]
	if _, err := io.ReadFull(s.in, message); err != nil {
		return fmt.Errorf("a message of %d bytes: %w", size, err)
	}
	s.rest = whole[:header+int(size)]
	if member {
		return nil
	}
	return s.admit(message)
}

// admit waits until boxo may work at a message.
func (s *sievedStream) admit(message []byte) error {
	entries, err := countEntries(message)
	if err != nil {
		return err
	}
	if entries > guestEntries {
		return fmt.Errorf("a message of more than %d entries", guestEntries)
	}
	if n := s.of.n; n.spend(n.closing, s.from, entries*guestEntryCost) != nil {
		return errClosed
	}
	s.of.atWork <- struct{}{}
	s.done = append(s.done, func() { <-s.of.atWork })
	return nil
}

// begin waits for the guest's turn to send a large message, and sets memory aside for it.
func (s *sievedStream) begin(size int) error {
	s.done = append(s.done, s.of.take(s.from))
	scope := s.Scope()
	if err := scope.ReserveMemory(size, network.ReservationPriorityHigh); err != nil {
		return err
	}
	s.done = append(s.done, func() { scope.ReleaseMemory(size) })
	if err := s.SetReadDeadline(time.Now().Add(guestLarge + 5*s.of.n.o.lineTime())); err != nil {
		return err
	}
	s.done = append(s.done, func() { _ = s.SetReadDeadline(time.Time{}) }) // if it cannot be, the stream has ended
	return nil
}

// take waits for the guest's turn, which ends with what is returned.
func (v *sieve) take(id peer.ID) (leave func()) {
	v.mu.Lock()
	t := v.large[id]
	if t == nil {
		t = &turns{taken: make(chan struct{}, 1)}
		v.large[id] = t
	}
	t.users++
	v.mu.Unlock()
	t.taken <- struct{}{}
	return func() {
		<-t.taken
		v.mu.Lock()
		defer v.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(v.large, id)
		}
	}
}

// countEntries is how many parts a message of bitswap has, wants, blocks and what is told of
// blocks, up to one more than guestEntries. See https://specs.ipfs.tech/bitswap-protocol/.
func countEntries(message []byte) (n int, err error) {
	err = eachField(message, func(num protowire.Number, value []byte) (more bool, err error) {
		switch num {
		case 1: // the list of wants
			err = eachField(value, func(num protowire.Number, _ []byte) (bool, error) {
				n++
				return n <= guestEntries, nil
			})
		case 2, 3, 4: // blocks, with or without a prefix, and whether there are such
			n++
		}
		return n <= guestEntries, err
	})
	return n, err
}

// eachField calls f with the fields of a message of protocol buffers, the bytes of those that
// have a length.
func eachField(message []byte, f func(protowire.Number, []byte) (more bool, err error)) error {
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var value []byte
		if typ == protowire.BytesType {
			value, n = protowire.ConsumeBytes(message)
		} else {
			n = protowire.ConsumeFieldValue(num, typ, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if more, err := f(num, value); err != nil || !more {
			return err
		}
	}
	return nil
}
