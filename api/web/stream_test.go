package web

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func selfSigned(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// streaming serves a stream whose lines and end come from send.
func streaming(t *testing.T, send func(s *Stream) error) string {
	return serve(t, Options{}, Handle(quiet, func(w http.ResponseWriter, r *http.Request) error {
		s := NewStream(w)
		return s.End(send(s))
	}))
}

func TestStream_StatusAndTrailer(t *testing.T) {
	one := map[string]string{"a": "<b>"}
	for name, tc := range map[string]struct {
		send            func(s *Stream) error
		status          int
		body            string
		announced, sent []string
	}{
		"nothing":       {func(s *Stream) error { return nil }, 204, "", []string{"X-Stream-Error"}, nil},
		"only an error": {func(s *Stream) error { return errors.New("boom") }, 500, `{"code":500,"message":"boom"}` + "\n", nil, nil},
		"only a kind":   {func(s *Stream) error { return api.Unavailable.Errorf("later") }, 503, `{"code":503,"message":"later"}` + "\n", nil, nil},
		"a line":        {func(s *Stream) error { return s.Send(one) }, 200, `{"a":"\u003cb\u003e"}` + "\n", nil, []string{""}},
		"a line, an error": {func(s *Stream) error {
			return errors.Join(s.Send(one), api.Full.Errorf("bo\r\nom"))
		}, 200, `{"a":"\u003cb\u003e"}` + "\n", nil, []string{"bo  om"}},
	} {
		t.Run(name, func(t *testing.T) {
			res := ask(t, "GET", streaming(t, tc.send), nil)
			// The Go client moves an announced trailer from the header to Trailer.
			announced := len(res.Header["Trailer"]) > 0 || len(res.Trailer) > 0
			body := text(t, res)
			if res.StatusCode != tc.status || body != tc.body {
				t.Fatalf("got %d %q, want %d %q", res.StatusCode, body, tc.status, tc.body)
			}
			if want := tc.status < 300; announced != want {
				t.Errorf("trailer announced: %v, want %v", announced, want)
			}
			got := res.Trailer["X-Stream-Error"]
			if len(got) != len(tc.sent) || len(got) > 0 && got[0] != tc.sent[0] {
				t.Errorf("got trailer %q, want %q", got, tc.sent)
			}
			code := ""
			if len(got) > 0 && got[0] != "" {
				code = "507"
			}
			if got := res.Trailer.Get("X-Pinfold-Error-Code"); got != code {
				t.Errorf("got code %q, want %q", got, code)
			}
			if ct := res.Header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("got Content-Type %q", ct)
			}
		})
	}
}

func TestStream_EndQuietlyHasNoTrailer(t *testing.T) {
	url := serve(t, Options{}, Handle(quiet, func(w http.ResponseWriter, r *http.Request) error {
		s := NewStream(w)
		if err := s.Start(); err != nil {
			return err
		}
		return s.EndQuietly()
	}))
	res := ask(t, "GET", url, nil)
	if body := text(t, res); res.StatusCode != 200 || body != "" || len(res.Trailer["X-Stream-Error"]) != 0 {
		t.Fatalf("got %d %q, trailer %q", res.StatusCode, body, res.Trailer)
	}
}

func TestStream_LinesDoNotWaitForEachOther(t *testing.T) {
	// The handler goes on only once the client has read what it sent: a line that waits
	// for the next one would wait for ever.
	got := make(chan bool)
	url := streaming(t, func(s *Stream) error {
		for range 3 {
			for range 2 {
				if err := s.Send("x"); err != nil {
					return err
				}
			}
			<-got
		}
		return nil
	})
	lines := bufio.NewReader(ask(t, "GET", url, nil).Body)
	for range 3 {
		for range 2 {
			if line, err := lines.ReadString('\n'); err != nil || line != "\"x\"\n" {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		got <- true
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Fatalf("got %v, want the end", err)
	}
}

func TestStream_ManyLinesAreWholeAndInOrder(t *testing.T) {
	const n = 20000
	url := streaming(t, func(s *Stream) error {
		for i := range n {
			if err := s.Append(func(b []byte) ([]byte, error) {
				return append(b, strings.Repeat(string(rune('a'+i%26)), i%100)...), nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	in := bufio.NewScanner(ask(t, "GET", url, nil).Body)
	count := 0
	for in.Scan() {
		if want := strings.Repeat(string(rune('a'+count%26)), count%100); in.Text() != want {
			t.Fatalf("line %d: got %q, want %q", count, in.Text(), want)
		}
		count++
	}
	if in.Err() != nil || count != n {
		t.Fatalf("got %d lines, %v; want %d", count, in.Err(), n)
	}
}

func TestStream_FailedLineIsDropped(t *testing.T) {
	url := streaming(t, func(s *Stream) error {
		if err := s.Send(1); err != nil {
			return err
		}
		if err := s.Append(func(b []byte) ([]byte, error) { return append(b, "half"...), errors.New("cannot") }); err == nil {
			t.Error("got no error")
		}
		return s.Send(2)
	})
	if got := text(t, ask(t, "GET", url, nil)); got != "1\n2\n" {
		t.Fatalf("got %q", got)
	}
}

func TestStream_TellsWhenTheClientHasGone(t *testing.T) {
	failed := make(chan error, 1)
	url := streaming(t, func(s *Stream) error {
		line := strings.Repeat("x", 1<<10)
		for {
			if err := s.Send(line); err != nil {
				failed <- err
				return err
			}
		}
	})
	res := ask(t, "GET", url, nil)
	if _, err := io.CopyN(io.Discard, res.Body, 100); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	<-failed // or the test's own limit
}

func TestBody_StopEndsARead(t *testing.T) {
	result := make(chan error, 1)
	url := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		b := NewBody(w, r)
		p := make([]byte, 10)
		if _, err := io.ReadFull(b, p[:3]); err != nil {
			t.Error(err)
		}
		go b.Stop()
		_, err := b.Read(p)
		result <- err
	}))
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write([]byte("abc")) }()
	res, err := http.Post(url, "", r)
	if err == nil {
		res.Body.Close()
	}
	if err := <-result; api.KindOf(err) != api.Invalid {
		t.Fatalf("got %v, want an Invalid error", err)
	}
}

func TestBody_BrokenOffIsInvalidAndEndIsEOF(t *testing.T) {
	for name, tc := range map[string]struct {
		body io.Reader
		want error
	}{
		"whole":      {strings.NewReader("abc"), nil},
		"broken off": {io.MultiReader(strings.NewReader("abc"), brokenReader{}), api.Invalid},
	} {
		result := make(chan error, 1)
		url := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(NewBody(w, r))
			result <- err
		}))
		if res, err := http.Post(url, "", tc.body); err == nil {
			res.Body.Close()
		}
		if err := <-result; !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }
