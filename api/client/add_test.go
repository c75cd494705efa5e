package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// sums puts out the name and hash of each file.
func sums(_ context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) error {
	return apitest.Walk(dir, func(name string, n files.Node) error {
		f, ok := n.(files.File)
		if !ok {
			return nil
		}
		h := sha256.New()
		size, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		return out(api.AddedOutput{Name: fmt.Sprintf("%s %x", name, h.Sum(nil)), Size: uint64(size)})
	})
}

func TestClient_AddSendsFilesWhole(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	c := (&peer{added: sums}).start(t, web.Options{}, Options{})
	dir := files.NewMapDirectory(map[string]files.Node{
		"d": files.NewMapDirectory(map[string]files.Node{"big": files.NewBytesFile(big), "ü &.txt": files.NewBytesFile(nil)}),
		"f": files.NewReaderFile(strings.NewReader("text")),
	})
	all, err := collect(c.Add(t.Context(), dir, api.DefaultAddParams()))
	want := []api.AddedOutput{
		{Name: fmt.Sprintf("d/big %x", sha256.Sum256(big)), Size: uint64(len(big))},
		{Name: fmt.Sprintf("d/ü &.txt %x", sha256.Sum256(nil))},
		{Name: fmt.Sprintf("f %x", sha256.Sum256([]byte("text"))), Size: 4},
	}
	if err != nil || !reflect.DeepEqual(all, want) {
		t.Fatalf("got %+v, %v\nwant %+v", all, err, want)
	}
}

func TestClient_AddSendsParameters(t *testing.T) {
	var got api.AddParams
	p := &peer{added: func(_ context.Context, _ files.Directory, a api.AddParams, _ func(api.AddedOutput) error) error {
		got = a
		return nil
	}}
	c := p.start(t, web.Options{}, Options{})
	want := api.AddParams{PinOptions: api.PinOptions{Name: "n", ReplicationFactorMin: 1, ReplicationFactorMax: 2}, Local: true, Recursive: true, Hidden: true,
		Wrap: true, Progress: true, NoPin: true, StreamChannels: true, Format: "unixfs", Layout: "trickle", Chunker: "size-1024",
		HashFun: "sha2-512", CidVersion: 1, RawLeaves: false, Size: 99,
		InlineLimit: api.DefaultAddParams().InlineLimit} // the one thing that does not travel: REST has no inlining
	if _, err := collect(c.Add(t.Context(), files.NewMapDirectory(nil), want)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestClient_AddTellsWhatWentWrong(t *testing.T) {
	one := func() files.Directory {
		return files.NewMapDirectory(map[string]files.Node{"f": files.NewBytesFile([]byte("text"))})
	}
	failing := &peer{added: func(_ context.Context, dir files.Directory, _ api.AddParams, out func(api.AddedOutput) error) error {
		return errors.Join(out(api.AddedOutput{Name: "a"}), api.Full.Errorf("no room on peer1"))
	}}
	c := failing.start(t, web.Options{}, Options{})
	if all, err := collect(c.Add(t.Context(), one(), api.AddParams{})); len(all) != 1 || code(err) != 507 || !strings.Contains(err.Error(), "no room on peer1") {
		t.Errorf("after a line: got %+v, %v", all, err)
	}
	if _, err := collect(c.Add(t.Context(), one(), api.AddParams{PinOptions: api.PinOptions{ReplicationFactorMin: -2}})); code(err) != 400 {
		t.Errorf("parameter: got %v", err)
	}

	unreadable := errors.New("input/output error")
	c = (&peer{added: sums}).start(t, web.Options{}, Options{})
	dir := files.NewMapDirectory(map[string]files.Node{"f": files.NewReaderFile(io.MultiReader(strings.NewReader("some"), failingReader{unreadable}))})
	if _, err := collect(c.Add(t.Context(), dir, api.AddParams{})); !errors.Is(err, unreadable) {
		t.Errorf("unreadable file: got %v", err)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestClient_TLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"version":"s"}`) }))
	s.Config.ErrorLog = slog.NewLogLogger(quiet.Handler(), slog.LevelError)
	s.StartTLS()
	defer s.Close()
	addr := s.Listener.Addr().String()
	tlsConfig := s.Client().Transport.(*http.Transport).TLSClientConfig
	for _, a := range []string{addr, "http://" + addr, "https://" + addr} {
		c, err := New(a, Options{TLS: tlsConfig})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := c.Version(t.Context()); err != nil || v.Version != "s" {
			t.Errorf("%s: got %+v, %v", a, v, err)
		}
	}
	c, err := New("https://"+addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var unknown *tls.CertificateVerificationError
	if _, err := c.Version(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("got %v, want the certificate refused", err)
	}
}

// What is told to be on its way adds up to no less than the files.
func TestClient_AddTellsWhatItSends(t *testing.T) {
	c := (&peer{added: sums}).start(t, web.Options{}, Options{})
	content := bytes.Repeat([]byte("x"), 1<<20)
	var sent atomic.Int64
	dir := files.NewMapDirectory(map[string]files.Node{"f": files.NewBytesFile(content)})
	if _, err := collect(c.AddTelling(t.Context(), dir, api.DefaultAddParams(), func(n int) { sent.Add(int64(n)) })); err != nil {
		t.Fatal(err)
	}
	if n := sent.Load(); n < 1<<20 || n > 1<<20+1<<10 {
		t.Errorf("told of %d bytes, of a file of %d", n, len(content))
	}
}

func TestClient_AwaitPinnedHasThePeerWait(t *testing.T) {
	var asked string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String()
		fmt.Fprintf(w, `{"cid":%q,"peer_map":{%q:{"status":"pinned"}}}`, cid0, p0)
	}))
	t.Cleanup(srv.Close)
	c, err := New(srv.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := api.ParseCid(cid0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.AwaitPinned(t.Context(), id, 90*time.Second)
	if err != nil || info.PeerMap[p0].Status != api.StatusPinned || asked != "GET /pins/"+cid0+"?timeout=1m30s&wait=pinned" {
		t.Errorf("asked %s, got %+v, %v", asked, info, err)
	}
}
