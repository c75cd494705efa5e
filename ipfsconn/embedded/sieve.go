package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"net"
	"runtime"
	"slices"
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
	guestEntries   = 16384 // of a message, the rest is dropped: eight times what is remembered of a guest's wants
	guestPart      = 256   // entries that boxo works at at a time
	guestEntryCost = 8 * time.Microsecond
	guestPartCost  = 4 * guestEntryCost
	guestByteCost  = 4 * time.Nanosecond         // of what boxo hashes before it looks whether somebody asked for it, or reads for nothing
	guestLateCost  = guestWants * guestEntryCost // at most: where its list is full; the rest may be the disk's, or others'
	guestSmall     = 16 << 10                    // bytes of a message, of which it may send several at a time
	guestTime      = time.Minute                 // in which one has to come that has begun
	guestMemory    = 256 << 20                   // bytes of buffers for larger ones, of and for all guests
)

// guestsAtWork is how many messages of guests boxo works at.
var guestsAtWork = max(2, runtime.GOMAXPROCS(0)/2)

// sieve is a host whose handlers read whole messages of bitswap, and of guests those that
// are worth the work, one after another. It calls no guest that has gone: where that is it
// told itself, and it may be anybody's address.
type sieve struct {
	host.Host
	n      *Node
	owes   func(peer.ID) time.Duration // for what it has not paid yet
	atWork chan struct{}

	large, working turns
	room           *room // for large messages, and answers
}

// turns are those of a guest's streams: to send a large message, or to be worked for.
type turns struct {
	mu sync.Mutex
	of map[peer.ID]*turnsOf
}

type turnsOf struct {
	taken chan struct{}
	users int // guarded by mu
}

func newSieve(n *Node, owes func(peer.ID) time.Duration) *sieve {
	return &sieve{Host: n.host, n: n, owes: owes, atWork: make(chan struct{}, guestsAtWork), room: newRoom(guestMemory)}
}

// SetStreamHandler implements host.Host.
func (v *sieve) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	v.Host.SetStreamHandler(id, func(s network.Stream) {
		from := s.Conn().RemotePeer()
		if v.n.isMember(from) {
			handle(s)
			return
		}
		sieved := v.stream(s)
		defer sieved.cancel()
		defer sieved.end()
		handle(sieved)
	})
}

func (v *sieve) stream(s network.Stream) *sievedStream {
	sieved := &sievedStream{Stream: s, from: s.Conn().RemotePeer(), of: v, in: bufio.NewReader(s), parts: noParts}
	sieved.ctx, sieved.cancel = context.WithCancel(v.n.closing)
	return sieved
}

// Connect implements host.Host. Who was found is called, at the addresses that were found.
func (v *sieve) Connect(ctx context.Context, p peer.AddrInfo) error {
	if len(p.Addrs) > 0 || v.n.mayCall(p.ID) {
		return v.Host.Connect(ctx, p)
	}
	if !v.n.connected(p.ID) {
		return api.Unavailable.Errorf("%s has gone", p.ID)
	}
	return nil
}

// NewStream implements host.Host.
func (v *sieve) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	if !v.n.mayCall(id) {
		ctx = network.WithNoDial(ctx, "guest")
	}
	return v.Host.NewStream(ctx, id, protocols...)
}

// sievedStream is a guest's, of which boxo gets message after message, and of long ones part
// after part.
type sievedStream struct {
	network.Stream
	from   peer.ID
	of     *sieve
	ctx    context.Context // of the stream; its methods have none
	cancel func()
	in     *bufio.Reader
	rest   net.Buffers         // of the part that boxo reads
	works  []func()            // give back what boxo has to work at it
	parts  func() (part, bool) // the next of the message
	done   []func()
}

// A part is a message of bitswap, of so many entries. With the first comes what was read.
type part struct {
	fields        net.Buffers
	entries, read int
}

func whole(message []byte, entries int) iter.Seq[part] {
	return slices.Values([]part{{net.Buffers{message}, entries, len(message)}})
}

func (p part) size() (bytes int) {
	for _, f := range p.fields {
		bytes += len(f)
	}
	return bytes
}

// Read implements network.Stream.
func (s *sievedStream) Read(b []byte) (n int, err error) {
	if len(s.rest) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, _ = s.rest.Read(b) // at its end there is another part
	return n, nil
}

// next returns once boxo may work at the next part.
func (s *sievedStream) next() error {
	s.worked()
	p, ok := s.parts()
	if !ok {
		s.end()
		if err := s.read(); err != nil {
			return err
		}
		p, _ = s.parts()
	}
	if err := s.admit(p); err != nil {
		return err
	}
	s.rest = append(net.Buffers{binary.AppendUvarint(nil, uint64(p.size()))}, p.fields...)
	return nil
}

// worked notes that boxo has done the last part.
func (s *sievedStream) worked() {
	for _, done := range s.works {
		done()
	}
	s.works = nil
}

// end gives back what the last message took.
func (s *sievedStream) end() {
	s.worked()
	for _, done := range s.done {
		done()
	}
	s.rest, s.parts, s.done = nil, noParts, nil
}

func noParts() (part, bool) { return part{}, false }

// read reads a message.
func (s *sievedStream) read() error {
	if _, err := s.in.Peek(1); err != nil {
		return err
	}
	if err := s.hurry(); err != nil {
		return err
	}
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
	message := pool.Get(int(size)) // some are megabytes: not for the collector
	s.done = append(s.done, func() { pool.Put(message) })
	if _, err := io.ReadFull(s.in, message); err != nil {
		return fmt.Errorf("a message of %d bytes: %w", size, err)
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	parts := whole(message, 0)
	if !member {
		if parts, err = split(message, guestPart); err != nil {
			return err
		}
	}
	next, stop := iter.Pull(parts)
	s.parts, s.done = next, append(s.done, stop)
	return nil
}

// lose ends the stream, wherever it waits: another has its room.
func (s *sievedStream) lose() {
	s.cancel()
	_ = s.Reset() // which fails if it has ended
}

// admit waits until boxo may work at a part: at one of a guest at a time, so that it pays
// for the last before.
func (s *sievedStream) admit(p part) error {
	n := s.of.n
	if n.isMember(s.from) {
		return nil
	}
	done, err := s.of.working.take(s.ctx, s.from)
	if err != nil {
		return err
	}
	s.works = append(s.works, done)
	cost := guestPartCost + time.Duration(p.entries)*guestEntryCost + time.Duration(p.read)*guestByteCost
	if err := n.spend(s.ctx, s.from, cost+s.of.owes(s.from)); err != nil {
		return err
	}
	if s.Conn().IsClosed() {
		return errClosed
	}
	s.of.atWork <- struct{}{}
	s.works = append(s.works, func() { <-s.of.atWork })
	if s.Conn().IsClosed() { // while it waited
		return errClosed
	}
	return nil
}

// begin waits for the guest's turn to send a large message, and sets memory aside for it.
func (s *sievedStream) begin(size int) error {
	done, err := s.of.large.take(s.ctx, s.from)
	if err != nil {
		return err
	}
	s.done = append(s.done, done)
	p := &place{bytes: 1 << bits.Len(uint(size-1)), address: s.of.n.address(s.from), gone: s.Conn().IsClosed, lose: s.lose}
	if err := s.of.room.take(s.ctx, p); err != nil {
		return err
	}
	s.done = append(s.done, func() { s.of.room.leave(p) })
	scope := s.Scope()
	if err := scope.ReserveMemory(size, network.ReservationPriorityHigh); err != nil {
		return err
	}
	s.done = append(s.done, func() { scope.ReleaseMemory(size) })
	return s.hurry() // it had to wait
}

// hurry has what has begun come within a while.
func (s *sievedStream) hurry() error {
	return s.SetReadDeadline(time.Now().Add(guestTime + 5*s.of.n.o.lineTime()))
}

// take waits for the guest's turn, which ends with what is returned. The error is ctx's.
func (t *turns) take(ctx context.Context, id peer.ID) (done func(), err error) {
	t.mu.Lock()
	of := t.of[id]
	if of == nil {
		of = &turnsOf{taken: make(chan struct{}, 1)}
		if t.of == nil {
			t.of = map[peer.ID]*turnsOf{}
		}
		t.of[id] = of
	}
	of.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if of.users--; of.users == 0 {
			delete(t.of, id)
		}
	}
	select {
	case of.taken <- struct{}{}:
		return func() { <-of.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// The fields of a message of bitswap, and of its list of wants.
// See https://specs.ipfs.tech/bitswap-protocol/.
const (
	fieldWants           = 1
	fieldWant, fieldFull = 1, 2
)

// split makes parts of a message that has more entries than most: wants, blocks and what is
// told of blocks. Each may come alone; only the first says that its wants are all there are.
func split(message []byte, most int) (iter.Seq[part], error) {
	entries, full, err := count(message)
	if err != nil {
		return nil, err
	}
	if entries <= most {
		return whole(message, entries), nil
	}
	return func(yield func(part) bool) {
		p, more := part{read: len(message)}, true
		if full {
			p.fields = asWants(protowire.AppendVarint(protowire.AppendTag(nil, fieldFull, protowire.VarintType), 1))
		}
		_ = eachEntry(message, func(f field, ofWants bool) bool { // count would have had the error
			if ofWants && f.number != fieldWant {
				return true
			}
			if p.entries == most {
				more = yield(p)
				p = part{}
			}
			if ofWants {
				p.fields = append(p.fields, asWants(f.raw)...)
			} else {
				p.fields = append(p.fields, f.raw)
			}
			p.entries++
			return more
		})
		if more {
			yield(p)
		}
	}, nil
}

// asWants makes a list of wants of one of its fields. A message may have several.
func asWants(field []byte) [][]byte {
	tag := protowire.AppendTag(nil, fieldWants, protowire.BytesType)
	return [][]byte{protowire.AppendVarint(tag, uint64(len(field))), field}
}

// count is how many entries a message has, and whether its wants are all that the sender has.
func count(message []byte) (n int, full bool, err error) {
	err = eachEntry(message, func(f field, ofWants bool) bool {
		if ofWants && f.number == fieldFull && f.typ == protowire.VarintType {
			full = protowire.DecodeBool(f.varint) // the last counts
		}
		n++
		return true
	})
	return n, full, err
}

// eachEntry calls f with what a message may have many of, the first guestEntries of them:
// the fields of its lists of wants, and all others.
func eachEntry(message []byte, f func(f field, ofWants bool) (more bool)) error {
	left := guestEntries
	entry := func(e field, ofWants bool) bool {
		left--
		return f(e, ofWants) && left > 0
	}
	return eachField(message, func(e field) (more bool, err error) {
		if e.number != fieldWants || len(e.value) == 0 {
			return entry(e, false), nil
		}
		err = eachField(e.value, func(e field) (bool, error) {
			more = entry(e, true)
			return more, nil
		})
		return more, err
	})
}

// A field is one of a message of protocol buffers.
type field struct {
	number protowire.Number
	typ    protowire.Type
	raw    []byte // all of it
	value  []byte // where it has a length
	varint uint64 // where it is one
}

// eachField calls f with the fields of a message of protocol buffers.
func eachField(message []byte, f func(field) (more bool, err error)) error {
	for len(message) > 0 {
		number, typ, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		n := protowire.ConsumeFieldValue(number, typ, message[tag:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		one := field{number: number, typ: typ, raw: message[:tag+n]}
		switch typ {
		case protowire.BytesType:
			one.value, _ = protowire.ConsumeBytes(message[tag:])
		case protowire.VarintType:
			one.varint, _ = protowire.ConsumeVarint(message[tag:])
		}
		message = message[tag+n:]
		if more, err := f(one); err != nil || !more {
			return err
		}
	}
	return nil
}
