package embedded

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// liarHost says that it has whatever it is asked for, and gives nothing.
func liarHost(t *testing.T) host.Host { return liarWith(t, nil) }

// liarWith gives what it is asked for among these, beside saying that it has all.
func liarWith(t *testing.T, has map[cid.Cid]block.Block) host.Host {
	h := muteHost(t, make(chan struct{}))
	h.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) {
		r := msgio.NewVarintReaderSize(s, 4<<20)
		var out network.Stream
		for {
			m, _, err := message.FromMsgReader(r)
			if err != nil {
				return
			}
			re := message.New(false)
			n := 0
			for _, e := range m.Wantlist() {
				if e.Cancel {
					continue
				}
				if b := has[e.Cid]; b != nil && e.WantType == pb.Message_Wantlist_Block {
					re.AddBlock(b)
					n++
				}
				if e.WantType == pb.Message_Wantlist_Have {
					re.AddHave(e.Cid)
					n++
				}
			}
			if n == 0 {
				continue
			}
			if out == nil {
				if out, err = h.NewStream(context.Background(), s.Conn().RemotePeer(), bsnet.ProtocolBitswap); err != nil {
					return
				}
			}
			if err := re.ToNetV1(out); err != nil {
				return
			}
		}
	})
	return h
}

// Guests that say they have everything, and give nothing, hold up nothing that a member has.
func TestTrader_LiarsHoldUpNoMember(t *testing.T) {
	guests := map[peer.ID]bool{}
	own := hostWithGuests{Host: newHost(t), guests: guests}
	var liars []host.Host
	for range 8 {
		l := liarHost(t)
		guests[l.ID()] = true
		liars = append(liars, l)
	}
	member := newHost(t)
	holder := openOn(t, member, Options{})
	n, err := New(own, t.TempDir(), Options{Wary: true}, &holders{infos: []peer.AddrInfo{{ID: member.ID(), Addrs: member.Addrs()}}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, l := range liars {
		if err := l.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		file := ipfsconntest.File(t, uint64(1+i), 64, 64<<10)
		ipfsconntest.Add(t, holder, file)
		if err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
}

// Followers, who fetch from each other, are not held up either: by those that give nothing, nor
// by those that gave something once. The one who has the blocks need be no member.
func TestTrader_LiarsHoldUpNoFollower(t *testing.T) {
	for _, gave := range []bool{false, true} {
		giver := newHost(t)
		holder := openOn(t, giver, Options{})
		files := make([]ipfsconntest.Tree, 2)
		has := map[cid.Cid]block.Block{}
		for i := range files {
			files[i] = ipfsconntest.File(t, uint64(1+i), 64, 64<<10)
			ipfsconntest.Add(t, holder, files[i])
		}
		if gave {
			for _, b := range files[0].Blocks {
				has[b.Cid()] = b
			}
		}
		guests := map[peer.ID]bool{giver.ID(): true}
		own := hostWithGuests{Host: newHost(t), guests: guests}
		known := &holders{infos: []peer.AddrInfo{{ID: giver.ID(), Addrs: giver.Addrs()}}}
		var liars []host.Host
		for range 8 {
			l := liarWith(t, has)
			guests[l.ID()] = true
			liars = append(liars, l)
			known.infos = append(known.infos, peer.AddrInfo{ID: l.ID(), Addrs: l.Addrs()})
		}
		n, err := New(own, t.TempDir(), Options{}, known, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		for _, l := range liars {
			if err := l.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
		for i, file := range files {
			if err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
				t.Fatalf("liars that gave=%v, file %d: %v", gave, i, err)
			}
		}
	}
}

// What a guest alone has comes from it.
func TestTrader_HasFromGuestsWhatMembersLack(t *testing.T) {
	guest := onLine(t, Options{})
	own := withGuests(t, guest.host)
	n := openOn(t, own, Options{Wary: true})
	if err := guest.host.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	file := ipfsconntest.File(t, 1, 64, 64<<10)
	ipfsconntest.Add(t, guest, file)
	if err := n.Pin(within(t, 60*time.Second), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Fatal(err)
	}
}

// guestOf is a node on its own host, with what it was dealt with a guest that is connected.
func guestOf(t *testing.T, o Options) (n *Node, guest host.Host, d *dealing) {
	t.Helper()
	guest = muteHost(t, make(chan struct{}))
	own := withGuests(t, guest)
	n = openOn(t, own, o)
	if err := guest.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	h := n.bitswap.hearsay
	until(t, "the guest is there", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		d = h.by[guest.ID()]
		return d != nil
	})
	return n, guest, d
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t, time.Minute)
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// tryNobody has guests be tried no more, which give nothing.
func tryNobody(h *hearsay) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = time.Now().Add(time.Hour)
	h.nextEasy = h.next
}

// What guests say is kept where they were asked for it: however much that is, and nothing else.
func TestHearsay_KeepsWhatWasAskedFor(t *testing.T) {
	const many = 5000
	n, guest, d := guestOf(t, Options{})
	h := n.bitswap.hearsay
	tryNobody(h)
	wants, m := message.New(false), message.New(false)
	for n := range many {
		c := block.NewBlock(fmt.Append(nil, n)).Cid()
		wants.AddEntry(c, 1, pb.Message_Wantlist_Have, true)
		m.AddHave(c)
		m.AddHave(block.NewBlock(fmt.Append(nil, "other", n)).Cid())
	}
	long, err := multihash.Encode(make([]byte, 1<<20), multihash.IDENTITY)
	if err != nil {
		t.Fatal(err)
	}
	wants.AddEntry(cid.NewCidV1(cid.Raw, long), 1, pb.Message_Wantlist_Have, true)
	m.AddHave(cid.NewCidV1(cid.Raw, long))
	there := block.NewBlock([]byte("there"))
	m.AddBlock(there)
	lacks := block.NewBlock([]byte("lacks")).Cid()
	m.AddDontHave(lacks)
	h.ask(guest.ID(), wants, time.Now())
	rest := h.hear(guest.ID(), m)
	if len(rest.Haves()) > 0 || len(rest.Blocks()) != 1 || !slices.Equal(rest.DontHaves(), []cid.Cid{lacks}) {
		t.Errorf("the client hears of %d at once, %d blocks and of %v that are not there", len(rest.Haves()), len(rest.Blocks()), rest.DontHaves())
	}
	said := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(d.said)
	}
	if n := said(); n != many {
		t.Errorf("%d are kept, %d were asked for", n, many)
	}
	cancels := message.New(false)
	for _, e := range wants.Wantlist() {
		cancels.Cancel(e.Cid)
	}
	h.ask(guest.ID(), cancels, time.Now())
	if n := said(); n != 0 {
		t.Errorf("%d are kept that are not wanted any more", n)
	}
}

// Of a guest that has gone boxo does not hear any more: it would wait for it for ever.
func TestHearsay_PassesNothingOfWhoHasGone(t *testing.T) {
	n, guest, d := guestOf(t, Options{})
	h := n.bitswap.hearsay
	tryNobody(h)
	c := block.NewBlock([]byte("there")).Cid()
	wants, m := message.New(false), message.New(false)
	wants.AddEntry(c, 1, pb.Message_Wantlist_Have, true)
	m.AddHave(c)
	h.ask(guest.ID(), wants, time.Now())
	h.hear(guest.ID(), m)
	if err := guest.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the guest is gone", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !d.here
	})
	if rest := h.hear(guest.ID(), m); !rest.Empty() {
		t.Error("it is heard")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(d.said) > 0 || h.by[guest.ID()] != nil {
		t.Error("what it said is kept")
	}
}

// Who gives nothing is not asked for a while, which grows; once it gives, it is asked at once.
func TestHearsay_ForgivesWhoGives(t *testing.T) {
	n, guest, d := guestOf(t, Options{})
	h := n.bitswap.hearsay
	b := block.NewBlock([]byte("there"))
	wants, gives := wantsBlocks(b), message.New(false)
	gives.AddBlock(b)
	deaf := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return d.deaf
	}
	now := time.Now()
	for _, later := range []time.Duration{deafMin, 2 * deafMin, 4 * deafMin} {
		h.ask(guest.ID(), wants, now)
		h.look(t.Context(), now.Add(oweTime/2))
		if deaf() {
			t.Fatal("it has no time to give the block")
		}
		now = now.Add(2 * oweTime)
		h.look(t.Context(), now)
		if !deaf() {
			t.Fatal("it is asked, and gives nothing")
		}
		h.look(t.Context(), now.Add(later-time.Second))
		if !deaf() {
			t.Fatalf("it is asked again within %v", later)
		}
		now = now.Add(later + time.Second)
		h.look(t.Context(), now)
		if deaf() {
			t.Fatalf("it is not asked any more after %v", later)
		}
	}
	h.ask(guest.ID(), wants, now)
	h.look(t.Context(), now.Add(2*oweTime))
	if !deaf() {
		t.Fatal("it is asked, and gives nothing")
	}
	if got := h.hear(guest.ID(), gives); len(got.Blocks()) != 0 || !deaf() {
		t.Error("it is heard before boxo knows that it has failed")
	}
	h.mu.Lock()
	d.gone = time.Now().Add(-deafLeast)
	h.mu.Unlock()
	if got := h.hear(guest.ID(), gives); len(got.Blocks()) != 1 || deaf() || !h.heard(guest.ID()) {
		t.Error("it gave the block, and is not asked")
	}
}

// Who gives some blocks keeps nobody from giving another that it does not give.
func TestHearsay_GivenIsWhatComes(t *testing.T) {
	now := time.Now()
	asked := func(since time.Duration) map[cid.Cid]want {
		return map[cid.Cid]want{block.NewBlock([]byte("a block")).Cid(): {block: true, since: now.Add(-since)}}
	}
	for name, test := range map[string]struct {
		of   dealing
		want int
	}{
		"by a member":              {dealing{here: true, asked: asked(0), owes: 1, waits: now}, 1},
		"by a guest that gave":     {dealing{here: true, guest: true, proven: true, asked: asked(0), owes: 1, waits: now}, 1},
		"by one that never gave":   {dealing{here: true, guest: true, asked: asked(0), owes: 1, waits: now}, 0},
		"by one that is not heard": {dealing{here: true, deaf: true, asked: asked(0), owes: 1, waits: now}, 0},
		"by one that has gone":     {dealing{asked: asked(0), owes: 1, waits: now}, 0},
		"by one that gives none":   {dealing{here: true, asked: asked(0), owes: 1, waits: now.Add(-oweTime)}, 0},
		"by one that gives others": {dealing{here: true, asked: asked(oweTime), owes: 1, waits: now}, 0},
	} {
		h := &hearsay{t: &trader{n: &Node{}}, by: map[peer.ID]*dealing{"": &test.of}}
		if got := len(h.giving(now)); got != test.want {
			t.Errorf("%s: %d blocks are given, want %d", name, got, test.want)
		}
	}
}

// Who says at once of each block that it has not got it owes none for long, though it gives none.
func TestHearsay_OwesWhatWasAskedLongAgo(t *testing.T) {
	now := time.Now()
	h := &hearsay{t: &trader{n: &Node{}}}
	c := block.NewBlock([]byte("a block")).Cid()
	for name, test := range map[string]struct {
		asked, gave time.Duration // ago
		want        bool
	}{
		"just asked":         {0, 2 * oweTime, false},
		"gave another":       {2 * oweTime, 0, false},
		"gives none of them": {2 * oweTime, 2 * oweTime, true},
	} {
		d := &dealing{here: true, guest: true, owes: 1, waits: now.Add(-test.gave), asked: map[cid.Cid]want{c: {block: true, since: now.Add(-test.asked)}}}
		if got := h.fails(d, now); got != test.want {
			t.Errorf("%s: fails: %t, want %t", name, got, test.want)
		}
	}
}

// Who owes a block for long is not waited for where somebody has it who gives such soon, though
// it gives one now and then.
func TestHearsay_LeavesWhoIsMuchSlower(t *testing.T) {
	for name, test := range map[string]struct {
		o       Options
		lacks   bool          // the other has not got the block
		after   time.Duration // the other gave one
		deaf    bool
		another bool // is owed by the other, as long
	}{
		"another gives at once":       {deaf: true},
		"another takes long too":      {after: trialTime},
		"another is busy":             {another: true},
		"another has not got it":      {lacks: true},
		"all is slow, as is the line": {o: Options{FetchRate: 256 << 10}},
	} {
		n, guest, d := guestOf(t, test.o)
		h, member := n.bitswap.hearsay, newHost(t)
		if err := member.Connect(t.Context(), peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}); err != nil {
			t.Fatal(err)
		}
		h.connected(member.ID()) // it speaks no bitswap
		owed, b1, b2, b3 := block.NewBlock([]byte("owed")), block.NewBlock(make([]byte, usualBlock)), block.NewBlock([]byte("given")), block.NewBlock([]byte("more"))
		ask := func(p peer.ID, kind pb.Message_Wantlist_WantType, at time.Time, bs ...block.Block) {
			m := message.New(false)
			for _, b := range bs {
				m.AddEntry(b.Cid(), 1, kind, true)
			}
			h.ask(p, m, at)
		}
		now := time.Now()
		ask(member.ID(), pb.Message_Wantlist_Have, now, owed)
		ask(member.ID(), pb.Message_Wantlist_Block, now.Add(-test.after), b1)
		ask(guest.ID(), pb.Message_Wantlist_Block, now, owed, b2)
		if test.another {
			ask(member.ID(), pb.Message_Wantlist_Block, now, b3)
		}
		has, gives := message.New(false), message.New(false)
		if test.lacks {
			has.AddDontHave(owed.Cid())
		} else {
			has.AddHave(owed.Cid())
		}
		has.AddBlock(b1)
		h.hear(member.ID(), has)
		gives.AddBlock(b2)
		h.hear(guest.ID(), gives)
		h.look(t.Context(), now.Add(trialTime-time.Millisecond))
		h.mu.Lock()
		if d.deaf {
			t.Errorf("%s: it has no time to give the block", name)
		}
		h.mu.Unlock()
		h.look(t.Context(), now.Add(trialTime+time.Second))
		h.mu.Lock()
		if d.deaf != test.deaf {
			t.Errorf("%s: it is not waited for any more: %t", name, d.deaf)
		}
		h.mu.Unlock()
		if !test.deaf {
			continue
		}
		late := message.New(false)
		late.AddBlock(owed)
		if got := h.hear(guest.ID(), late); len(got.Blocks()) > 0 || d.failed > 0 {
			t.Errorf("%s: a late block is heard at once, or not noted", name)
		}
		h.mu.Lock()
		d.gone = time.Now().Add(-deafSlow)
		h.mu.Unlock()
		if got := h.hear(guest.ID(), late); len(got.Blocks()) != 1 || !h.heard(guest.ID()) {
			t.Errorf("%s: late blocks do not help it", name)
		}
	}
}

// Who has gone has done so after all that boxo hears of it, and comes again after that.
func TestHearsay_GoesAfterWhatIsHeard(t *testing.T) {
	n, guest, _ := guestOf(t, Options{})
	h, p := n.bitswap.hearsay, guest.ID()
	for _, again := range []bool{true, false} {
		h.mu.Lock()
		h.hearing[p]++ // boxo hears a message
		h.mu.Unlock()
		h.disconnected(p)
		if again {
			h.connected(p)
		}
		h.mu.Lock()
		if d := h.by[p]; d == nil || !d.leaves {
			t.Error("boxo takes it for gone before it has heard what came before")
		}
		h.hearing[p]--
		h.mu.Unlock()
		b, m := block.NewBlock([]byte("a block")), message.New(false)
		m.AddHave(b.Cid())
		h.ask(p, wantsBlocks(b), time.Now()) // what boxo had in mind for it
		h.receive(t.Context(), p, m)
		h.mu.Lock()
		if d := h.by[p]; again != (d != nil) || again && (d.leaves || !d.here || d.owes > 0) {
			t.Errorf("come again=%t: %+v", again, d)
		}
		h.mu.Unlock()
	}
}

// countingHost counts how often it is asked who is a member.
type countingHost struct {
	hostWithGuests
	asked *atomic.Int64
}

func (h countingHost) IsMember(id peer.ID) bool {
	h.asked.Add(1)
	return h.hostWithGuests.IsMember(id)
}

// However often a guest says that it has a block, and has not, that is not looked at more often.
func TestHearsay_LooksNotForEachWord(t *testing.T) {
	guest := muteHost(t, make(chan struct{}))
	own := countingHost{withGuests(t, guest), new(atomic.Int64)}
	n := openOn(t, own, Options{})
	h := n.bitswap.hearsay
	tryNobody(h)
	h.connected(guest.ID())
	c := block.NewBlock([]byte("there")).Cid()
	wants, has, lacks := message.New(false), message.New(false), message.New(false)
	wants.AddEntry(c, 1, pb.Message_Wantlist_Have, true)
	has.AddHave(c)
	lacks.AddDontHave(c)
	h.ask(guest.ID(), wants, time.Now())
	began, before, words := time.Now(), own.asked.Load(), 0
	for time.Since(began) < 20*hearsayRest {
		h.hear(guest.ID(), has)
		h.hear(guest.ID(), lacks)
		words += 2
	}
	looks := own.asked.Load() - before - int64(words)
	most := int64(time.Since(began)/hearsayRest) + 2
	t.Log(looks, words, most)
	if looks > most {
		t.Errorf("%d looks after %d words, want %d at most", looks, words, most)
	}
}

// Who hangs up when it is tried keeps nobody from being tried, and has failed.
func TestHearsay_TriesMoreThoughSomeHangUp(t *testing.T) {
	own := hostWithGuests{Host: newHost(t), guests: map[peer.ID]bool{}}
	for i := range 16 {
		own.guests[peer.ID(fmt.Sprint("liar ", i))] = true
	}
	n := openOn(t, own, Options{})
	h, c := n.bitswap.hearsay, block.NewBlock([]byte("there")).Cid()
	h.mu.Lock()
	for p := range own.guests {
		h.by[p] = &dealing{here: true, guest: true, said: map[cid.Cid]time.Time{c: time.Now()}}
	}
	h.mu.Unlock()
	tried := map[peer.ID]bool{}
	now := time.Now()
	for range 6 {
		now = now.Add(hearsayTick)
		h.look(t.Context(), now)
		h.mu.Lock()
		for p, d := range h.by {
			if d.trial.Defined() {
				tried[p] = true
			}
		}
		h.mu.Unlock()
		for p := range tried {
			h.disconnected(p)
		}
	}
	if len(tried) != len(own.guests) {
		t.Errorf("%d of %d were tried", len(tried), len(own.guests))
	}
	for p := range tried {
		h.connected(p)
		h.mu.Lock()
		if !h.by[p].deaf {
			t.Error("one is tried again at once")
		}
		h.mu.Unlock()
	}
}

// Blocks larger than usual take their time, and tell no more of a peer than that.
func TestDealing_GivesLargeBlocks(t *testing.T) {
	d := &dealing{}
	if d.gives(4*usualBlock, 2*time.Second); d.took != 2*time.Second {
		t.Errorf("who gave a large block in 2s takes %v", d.took)
	}
	if d.gives(usualBlock/2, time.Second); d.took != 2*time.Second {
		t.Errorf("who gave half a block in 1s takes %v", d.took)
	}
}
