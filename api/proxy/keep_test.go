package proxy

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
)

// wishes is a pinset of requests alone.
type wishes struct {
	pins map[string]api.Pin // by CID
	down bool
}

func (w *wishes) Get(_ context.Context, c api.Cid) (api.Pin, error) {
	if p, ok := w.pins[c.KeyString()]; ok {
		return p, nil
	}
	return api.Pin{}, api.NotFound.Errorf("no pin")
}

func (w *wishes) All(context.Context) iter.Seq2[api.Pin, error] { panic("not asked") }

func (w *wishes) PinMany(_ context.Context, reqs []api.Request) []api.Result {
	out := make([]api.Result, len(reqs))
	for i, r := range reqs {
		key := r.Pin.Cid.KeyString()
		p := w.pins[key]
		p.Cid = r.Pin.Cid
		has := slices.IndexFunc(p.Requests, func(q api.PinRequest) bool {
			return r.Drop != nil && q.ID == *r.Drop || len(r.Pin.Requests) > 0 && q.ID == r.Pin.Requests[0].ID
		})
		switch {
		case w.down:
			out[i].Fault = &api.Fault{Kind: api.Unavailable, Message: "no majority"}
			continue
		case r.Type == api.RequestPin && has >= 0:
			panic("the same request twice")
		case r.Type == api.RequestPin:
			p.Requests = append(slices.Clone(p.Requests), r.Pin.Requests...)
		case has < 0:
			out[i].Fault = &api.Fault{Kind: api.NotFound, Message: "no such request"}
			continue
		default:
			p.Requests = slices.Delete(slices.Clone(p.Requests), has, has+1)
		}
		if w.pins[key] = p; len(p.Requests) == 0 {
			delete(w.pins, key)
		}
	}
	return out
}

// names gives what is wished for: each name with its CID, in order.
func (w *wishes) names() string {
	var all []string
	for _, p := range w.pins {
		for _, r := range p.Requests {
			all = append(all, r.Name+"="+p.Cid.String()[len(p.Cid.String())-4:])
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func textFile(text string) *merkledag.ProtoNode {
	return merkledag.NodeWithData(unixfs.FilePBData([]byte(text), uint64(len(text))))
}

func tail(c cid.Cid) string { return c.String()[len(c.String())-4:] }

func TestKeeper_PinsWhatIsAtTheTop(t *testing.T) {
	node, err := embedded.New(nil, t.TempDir(), embedded.Options{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	w := &wishes{pins: map[string]api.Pin{}}
	k := NewKeeper("self", node, w, w, slog.New(slog.DiscardHandler))
	one, two := textFile("1"), textFile("2")
	for _, step := range []struct {
		what   string
		change func(*mfs.Root) error
		down   bool
		want   string
	}{
		{"added", func(r *mfs.Root) error { return mfs.PutNode(r, "/a", one) }, false, "/a=" + tail(one.Cid())},
		{"the same content under another name", func(r *mfs.Root) error { return mfs.PutNode(r, "/b", one) }, false,
			"/a=" + tail(one.Cid()) + " /b=" + tail(one.Cid())},
		{"changed without a majority", func(r *mfs.Root) error {
			if err := r.GetDirectory().Unlink("a"); err != nil {
				return err
			}
			return mfs.PutNode(r, "/a", two)
		}, true, "/a=" + tail(one.Cid()) + " /b=" + tail(one.Cid())},
		{"and with one again", func(*mfs.Root) error { return nil }, false, "/a=" + tail(two.Cid()) + " /b=" + tail(one.Cid())},
		{"moved", func(r *mfs.Root) error { return mfs.Mv(r, "/b", "/c") }, false, "/a=" + tail(two.Cid()) + " /c=" + tail(one.Cid())},
		{"removed", func(r *mfs.Root) error { return r.GetDirectory().Unlink("a") }, false, "/c=" + tail(one.Cid())},
	} {
		if err := node.ChangeFiles(t.Context(), step.change); err != nil {
			t.Fatal(err)
		}
		w.down = step.down
		if err := k.sync(t.Context()); (err != nil) != step.down {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := w.names(); got != step.want {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
		if err := k.sync(t.Context()); (err != nil) != step.down { // nothing comes twice
			t.Fatalf("%s, again: %v", step.what, err)
		}
	}
	// What others unpin is pinned again as long as it is in the tree.
	clear(w.pins)
	if err := k.sync(t.Context()); err != nil || w.names() != "/c="+tail(one.Cid()) {
		t.Errorf("after an unpin: %q, %v", w.names(), err)
	}
	// What is noted may be older than what was done.
	if err := node.SetKeptFiles(t.Context(), map[string]api.Cid{}); err != nil {
		t.Fatal(err)
	}
	if err := k.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := node.KeptFiles(t.Context())
	if err != nil || !slices.Equal(slices.Collect(maps.Keys(kept)), []string{"c"}) {
		t.Errorf("got %v, %v", kept, err)
	}
}

// Names in the tree are any bytes; those of pins are text, and bounded.
func TestKeeper_NamesOfPinsAreText(t *testing.T) {
	k := NewKeeper("self", nil, nil, nil, nil)
	for name, want := range map[string]string{
		"a":                            "/a",
		"a" + strings.Repeat("é", 127): "/a" + strings.Repeat("é", 126),
		strings.Repeat("字", 86):        "/" + strings.Repeat("字", 84),
		"\xff\xfe":                     "/\uFFFD",
		strings.Repeat("b", 300):       "/" + strings.Repeat("b", 254),
	} {
		if got := k.request(name).Name; got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
