package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// What is wrong with a request is answered with one JSON object and a status that
// blames the caller, and nothing happens.
func TestCluster_RefusesBadInput(t *testing.T) {
	peers := startCluster(t, 3)
	_, others := leaderOf(t, peers)
	p := others[0]
	kept := p.pin(randomCid(), copies(2))
	waitEqual(t, peers)
	before := p.daemon.state.Digest().Pins

	c := randomCid().String()
	multi, boundary := form(t, randomBytes(300<<10))
	const multipartType = "multipart/form-data; boundary="
	for _, tt := range []struct {
		name, method, path string
		body               io.Reader
		contentType        string
		code               int
	}{
		{"malformed CID", "POST", "/pins/notacid", nil, "", 400},
		{"malformed CID, unpin", "DELETE", "/pins/Qm", nil, "", 400},
		{"malformed CID, status", "GET", "/pins/bafy", nil, "", 400},
		{"malformed path", "POST", "/pins/ipfs/notacid/x", nil, "", 400},
		{"min above max", "POST", "/pins/" + c + "?replication-min=2&replication-max=1", nil, "", 400},
		{"factor -2", "POST", "/pins/" + c + "?replication-min=-2&replication-max=-2", nil, "", 400},
		{"half everywhere", "POST", "/pins/" + c + "?replication-min=-1&replication-max=2", nil, "", 400},
		{"absurd factor", "POST", "/pins/" + c + "?replication-min=100000&replication-max=100000", nil, "", 400},
		{"factor that is no number", "POST", "/pins/" + c + "?replication-min=two", nil, "", 400},
		{"more copies than peers", "POST", "/pins/" + c + "?replication-min=4&replication-max=4", nil, "", 400},
		{"expiry in the past", "POST", "/pins/" + c + "?expire-at=" + url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)), nil, "", 400},
		{"expiry that is no time", "POST", "/pins/" + c + "?expire-at=tomorrow", nil, "", 400},
		{"unpin of what is no pin", "DELETE", "/pins/" + c, nil, "", 404},
		{"update from what is no pin", "POST", "/pins/" + c + "?pin-update=" + randomCid().String(), nil, "", 404},
		{"removal of an unknown peer", "DELETE", "/peers/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", nil, "", 404},
		{"removal of what is no peer", "DELETE", "/peers/nobody", nil, "", 400},
		{"wrong method", "PUT", "/pins/" + c, nil, "", 405},
		{"unknown path", "POST", "/pin/" + c, nil, "", 404},
		{"head too large", "POST", "/pins/" + c + "?name=" + strings.Repeat("x", 20<<10), nil, "", 431},
		{"record too large", "POST", "/pins", strings.NewReader(`{"cid":"` + c + `","name":"` + strings.Repeat("x", 2<<20) + `"}` + "\n"), "application/x-ndjson", 0},
		{"add that is no form", "POST", "/add", strings.NewReader("hello"), "text/plain", 400},
		{"add without a boundary", "POST", "/add", strings.NewReader("hello"), "multipart/form-data", 400},
		{"add of what is not multipart", "POST", "/add?stream-channels=false", strings.NewReader("hello"), multipartType + "x", 400},
		{"add that ends early", "POST", "/add?stream-channels=false", bytes.NewReader(multi[:len(multi)/2]), multipartType + boundary, 400},
		{"add with a bad chunker", "POST", "/add?chunker=size-0", bytes.NewReader(multi), multipartType + boundary, 400},
		{"add with an unknown hash", "POST", "/add?hash=md99", bytes.NewReader(multi), multipartType + boundary, 400},
		{"streamed add of what is not multipart", "POST", "/add", strings.NewReader("hello"), multipartType + "x", 400},
		{"streamed add that ends early", "POST", "/add", bytes.NewReader(multi[:len(multi)/2]), multipartType + boundary, 400},
		{"streamed add of what is no CAR", "POST", "/add?format=car", bytes.NewReader(multi), multipartType + boundary, 400},
		{"streamed add with a weak hash", "POST", "/add?hash=md5", bytes.NewReader(multi), multipartType + boundary, 400},
		{"streamed add of more copies than peers", "POST", "/add?replication-min=5&replication-max=5", bytes.NewReader(multi), multipartType + boundary, 400},
		{"streamed add to an unknown peer", "POST", "/add?user-allocations=12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", bytes.NewReader(multi), multipartType + boundary, 400},
		{"add of more copies than peers", "POST", "/add?stream-channels=false&replication-min=5&replication-max=5", bytes.NewReader(multi), multipartType + boundary, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, p.url+tt.path, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.contentType)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if tt.code == 0 { // the answer to a line of many
				var line api.BulkResult
				if err := one(body, &line); err != nil || line.Error == nil || line.Error.Code/100 != 4 {
					t.Errorf("answer %s: %v, want a refused line", body, err)
				}
				return
			}
			if resp.StatusCode != tt.code {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.code, body)
			}
			var refusal api.Error
			if err := one(body, &refusal); err != nil || refusal.Code != resp.StatusCode || refusal.Message == "" {
				t.Errorf("answer %q: %v, want one error object", body, err)
			}
		})
	}

	t.Run("upload that breaks off", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST /add HTTP/1.1\r\nHost: x\r\nContent-Type: %s%s\r\nContent-Length: %d\r\n\r\n%s",
			multipartType, boundary, len(multi), multi[:len(multi)/2])
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Fatal(err)
		}
	})

	waitEqual(t, peers)
	for _, p := range peers {
		if got := p.daemon.state.Digest().Pins; got != before {
			t.Errorf("the pinset of %s is another: %v, want %s alone", p.name, cids(p), kept.Cid)
		}
	}
}

// one reads a single JSON value.
func one(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

// form is a multipart body with one file.
func form(t *testing.T, content []byte) (body []byte, boundary string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", "file")
	if err != nil {
		t.Fatal(err)
	}
	_, err = part.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.Boundary()
}

// A destination on another peer runs out of room in the middle of an add: the caller
// reads that, nothing is pinned, and what was stored goes.
func TestCluster_AddTellsOfAFullDestination(t *testing.T) {
	first := startCluster(t, 1)[0]
	small := newPeer(t, "small", "EMBEDDED_STORAGEMAX=2000000")
	small.mustJoin(first.invite())
	small.start()
	peers := []*testPeer{first, small}
	waitTogether(t, peers)

	fits := randomBytes(200 << 10)
	readable(t, peers, first.add(fits, copies(2)), fits)
	before := first.daemon.state.Digest().Pins
	// Nobody is told the size, so that it is found out only as blocks arrive.
	_, err := first.tryAdd(randomBytes(8<<20), copies(2))
	if err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), small.id.String()) {
		t.Errorf("the add ends with %v, want that %s has no room", err, small.id)
	}
	waitEqual(t, peers)
	if first.daemon.state.Digest().Pins != before {
		t.Error("the add changed the pinset")
	}
	last := randomBytes(10)
	readable(t, peers, first.add(last, copies(2)), last) // what the failed add stored is not in the way
}
