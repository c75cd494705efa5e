package pinner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// once returns a function that fails the first n times.
func once[A any](n int32, err error) func(A) error {
	var calls atomic.Int32
	return func(A) error {
		if calls.Add(1) <= n {
			return err
		}
		return nil
	}
}

func TestRetry_LostAnswerIsAppliedOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"carried out, answer lost", api.Unknown.Errorf("reset")},
		{"never arrived", api.Unavailable.Errorf("refused")},
		{"arrived or not", errors.New("odd")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, 2, Options{Resend: time.Millisecond})
			lost := once[api.Batch](3, tt.err)
			c.call = func(_ api.PeerID, b api.Batch) error { return lost(b) }
			c.run()
			first := c.pin(1, ask(1, api.PinOptions{Name: "a"}))
			if stored := c.get(testCid(1)); stored.Revision != first.Revision {
				t.Fatalf("told index %d, stored at %d: applied more than once", first.Revision, stored.Revision)
			}
			// The first try removes it, so the second would not find it.
			lost = once[api.Batch](2, tt.err)
			if _, index, err := c.pinners[c.ids[1]].Unpin(t.Context(), testCid(1)); err != nil || index == 0 {
				t.Fatalf("unpin: %d, %v", index, err)
			}
		})
	}
}

func TestRetry_LeaderLosesItsOutcome(t *testing.T) {
	c := newCluster(t, 2, Options{Resend: time.Millisecond})
	lost := once[[]api.Op](4, api.Unknown.Errorf("leadership lost"))
	c.before = func(ops []api.Op) error {
		if ops[0].Type == api.OpSession {
			return nil
		}
		return lost(ops)
	}
	c.run()
	for i := range c.ids {
		if got := c.pin(i, ask(i, api.PinOptions{})); c.get(testCid(i)).Revision != got.Revision {
			t.Fatal("applied more than once")
		}
	}
}

func TestRetry_NewLeaderMidway(t *testing.T) {
	c := newCluster(t, 3, Options{Resend: time.Millisecond})
	c.run()
	stop := make(chan struct{})
	var turns sync.WaitGroup
	turns.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				c.lead(i % 3)
			}
		}
	})
	defer turns.Wait()
	defer close(stop)
	var wg sync.WaitGroup
	for i, id := range c.ids {
		wg.Go(func() {
			for n := range 100 {
				got, index, err := c.pinners[id].Pin(t.Context(), ask(i*1000+n, copies(2, 2)))
				if err != nil {
					t.Errorf("pin: %v", err)
				} else if stored := c.get(got.Cid); stored.Revision != index {
					t.Errorf("told index %d, stored at %d", index, stored.Revision)
				}
			}
		})
	}
	wg.Wait()
}

func TestRetry_OutcomeUnknownWhenTimeEnds(t *testing.T) {
	c := newCluster(t, 2, Options{Resend: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	c.call = func(api.PeerID, api.Batch) error {
		if calls++; calls == 2 { // the first was carried out
			cancel()
		}
		return api.Unknown.Errorf("reset")
	}
	c.run()
	if _, _, err := c.pinners[c.ids[1]].Pin(ctx, ask(1, api.PinOptions{})); !errors.Is(err, api.Unknown) {
		t.Fatalf("got %v (%s), want outcome unknown", err, api.KindOf(err))
	}
	c.get(testCid(1)) // it was carried out
}

func TestRetry_NothingHappenedWhenTimeEnds(t *testing.T) {
	c := newCluster(t, 2, Options{Resend: time.Hour})
	c.call = func(api.PeerID, api.Batch) error { return api.Unavailable.Errorf("refused") }
	c.run()
	p := c.pinners[c.ids[1]]
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := p.Pin(ctx, ask(1, api.PinOptions{}))
		ended <- err
	}()
	for tried := false; !tried; <-time.After(time.Millisecond) {
		p.queue.mu.Lock()
		waits := p.queue.last[testCid(1)]
		tried = waits != nil && waits.last != nil
		p.queue.mu.Unlock()
	}
	cancel()
	if err := <-ended; !errors.Is(err, api.Unavailable) {
		t.Fatalf("got %v (%s), want unavailable", err, api.KindOf(err))
	}
	if _, err := c.st.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) {
		t.Fatalf("refused and carried out: %v", err)
	}
}

func TestSession_EndedOneIsNotOpenedAgain(t *testing.T) {
	c := newCluster(t, 2, Options{Resend: time.Millisecond})
	c.run()
	c.pin(1, ask(1, api.PinOptions{}))
	old, _, _ := c.st.Session(c.ids[1])

	// The peer restarts; a call of its former life arrives late.
	restarted, err := New(c.ids[1], node{c, c.ids[1]}, c.st, c, wire{c, c.ids[1]}, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if restarted.queue.session <= old {
		t.Fatalf("session %d after %d: they must rise", restarted.queue.session, old)
	}
	leader := c.pinners[c.ids[0]]
	serve := func(session, seq, acked uint64, n int) *api.Fault {
		out, err := leader.Serve(t.Context(), c.ids[1], api.Batch{Session: session, Acked: acked,
			Requests: []api.Request{{Type: api.RequestPin, Pin: ask(n, api.PinOptions{}), Seq: seq}}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Results[0].Fault
	}
	if f := serve(restarted.queue.session, 1, 1, 2); f != nil {
		t.Fatal(f)
	}
	if f := serve(old, 2, 1, 3); f == nil || f.Kind != sessionEnded {
		t.Fatalf("late call: %+v", f)
	}
	if now, _, _ := c.st.Session(c.ids[1]); now != restarted.queue.session {
		t.Fatal("the ended session is open again")
	}
	if f := serve(restarted.queue.session, 2, 2, 4); f != nil {
		t.Fatal(f)
	}
	if f := serve(restarted.queue.session, 1, 1, 5); f == nil || f.Kind != api.Conflict {
		t.Fatalf("a number answered before: %+v", f)
	}
	// The first pinner finds its session ended and opens another.
	c.pin(1, ask(6, api.PinOptions{}))
	if now, _, _ := c.st.Session(c.ids[1]); now <= restarted.queue.session {
		t.Fatal("no new session")
	}
}

func TestServe_RefusesWhatNoPinnerSends(t *testing.T) {
	c := newCluster(t, 1, Options{})
	r := api.Request{Type: api.RequestPin, Pin: ask(1, api.PinOptions{}), Seq: 1}
	for name, b := range map[string]api.Batch{
		"no session": {Requests: []api.Request{r}},
		"no number":  {Session: 1, Requests: []api.Request{{Type: api.RequestPin, Pin: r.Pin}}},
		"too many":   {Session: 1, Requests: slices.Repeat([]api.Request{r}, batchRequests+1)},
	} {
		if _, err := c.pinners[c.ids[0]].Serve(t.Context(), testPeer(9), b); !errors.Is(err, api.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, err := c.pinners[c.ids[0]].Serve(t.Context(), testPeer(9), api.Batch{Session: 1, Requests: []api.Request{{Type: 9, Pin: r.Pin, Seq: 1}}})
	if err != nil || out.Results[0].Fault == nil || out.Results[0].Fault.Kind != api.Invalid {
		t.Errorf("unknown type: %+v, %v", out, err)
	}
}

func TestServe_StaleDecisionIsDecidedAgain(t *testing.T) {
	c := newCluster(t, 1, Options{})
	c.run()
	c.pin(0, ask(1, api.PinOptions{Name: "first"}))
	crossed := false
	c.before = func(ops []api.Op) error {
		if !crossed && ops[0].Type == api.OpUnpin {
			crossed = true // another change gets in between
			c.mu.Lock()
			defer c.mu.Unlock()
			pin := c.get(testCid(1))
			pin.Name = "second"
			c.apply([]api.Op{{Type: api.OpPin, Pin: &pin, Revision: pin.Revision}})
		}
		return nil
	}
	was, _, err := c.pinners[c.ids[0]].Unpin(t.Context(), testCid(1))
	if err != nil || was.Name != "second" {
		t.Fatalf("got %q, %v; want the record as it was when removed", was.Name, err)
	}
}

func TestServe_DeposedLeaderRefusesNothing(t *testing.T) {
	c := newCluster(t, 2, Options{Resend: time.Millisecond})
	c.run()
	// Decided by a leader that is deposed before it can say so.
	deposed := deposedNode{node{c, c.ids[0]}}
	p, err := New(c.ids[0], deposed, c.st, c, wire{c, c.ids[0]}, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Serve(t.Context(), c.ids[1], api.Batch{Session: 1 << 63, Requests: []api.Request{{Type: api.RequestUnpin, Pin: api.Pin{Cid: testCid(1)}, Seq: 1}}})
	if err != nil || out.Results[0].Fault == nil || out.Results[0].Fault.Kind != retry {
		t.Fatalf("got %+v, %v", out, err)
	}
}

type deposedNode struct{ node }

func (deposedNode) ReadIndex(context.Context) (uint64, error) {
	return 0, api.Unavailable.Errorf("this peer does not lead")
}

func TestForward_GivesUpOnALeaderThatIsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{})
		hang := make(chan struct{})
		t.Cleanup(func() { close(hang) })
		c.run(c.ids[1], c.ids[2])
		fwd := hangingForwarder{wire{c, c.ids[1]}, hang}
		c.pinners[c.ids[1]].fwd = fwd
		go func() {
			time.Sleep(2 * time.Second)
			c.lead(2)
		}()
		began := time.Now()
		c.pin(1, ask(1, api.PinOptions{}))
		if took := time.Since(began); took > 3*time.Second {
			t.Fatalf("took %v after the leader changed at 2s", took)
		}
	})
}

// hangingForwarder gets no answer from the first peer.
type hangingForwarder struct {
	wire
	hang chan struct{}
}

func (f hangingForwarder) Commit(ctx context.Context, to api.PeerID, b api.Batch) (api.Committed, error) {
	if to == f.ids[0] {
		select {
		case <-f.hang:
		case <-ctx.Done():
		}
		return api.Committed{}, fmt.Errorf("call: %w", ctx.Err())
	}
	return f.wire.Commit(ctx, to, b)
}

func TestQueue_NumbersAreBounded(t *testing.T) {
	q := newQueue(func() uint64 { return 0 })
	var calls []*call
	for i := range window + 10 {
		q.add(api.Request{Pin: ask(i, api.PinOptions{})})
	}
	for {
		got := q.take()
		if len(got) == 0 {
			break
		}
		calls = append(calls, got...)
	}
	if len(calls) != window {
		t.Fatalf("%d requests are unanswered at once, want %d", len(calls), window)
	}
	q.answer(calls[1], api.Result{})
	if got := q.take(); len(got) != 0 {
		t.Fatal("the first number is not answered yet")
	}
	q.answer(calls[0], api.Result{})
	if got := q.take(); len(got) != 2 {
		t.Fatalf("%d requests went on, want 2", len(got))
	}
}

func TestQueue_BatchIsBoundedInBytes(t *testing.T) {
	q := newQueue(func() uint64 { return 0 })
	for i := range 20 {
		q.add(api.Request{Pin: ask(i, api.PinOptions{Name: string(make([]byte, 15<<10))})})
	}
	if got := q.take(); len(got) != 4 {
		t.Fatalf("%d requests of 15 KiB in a call of 64", len(got))
	}
}

func TestQueue_SameCidKeepsItsOrder(t *testing.T) {
	q := newQueue(func() uint64 { return 0 })
	a, b, d := q.add(api.Request{Pin: ask(1, api.PinOptions{})}), q.add(api.Request{Pin: ask(1, api.PinOptions{})}), q.add(api.Request{Pin: ask(1, api.PinOptions{})})
	if got := q.take(); len(got) != 1 || got[0] != a {
		t.Fatalf("%d calls at once", len(got))
	}
	q.giveUp(b, context.Canceled)
	if got := q.take(); len(got) != 0 {
		t.Fatal("the third overtook the first")
	}
	q.answer(a, api.Result{})
	if got := q.take(); len(got) != 1 || got[0] != d {
		t.Fatalf("%d calls after the first", len(got))
	}
	q.answer(d, api.Result{})
	if len(q.last) != 0 {
		t.Fatal("a chain is left over")
	}
}
