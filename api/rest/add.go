package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// add takes the files of a multipart body as they come. Parameters are checked before
// any of it is read. The answer is a stream that begins before the body does, unless
// stream-channels=false asks for one array at the end.
func (h *handler) add(w http.ResponseWriter, r *http.Request) error {
	// Where the body is not read to its end, nothing else can come over this
	// connection; and net/http does not wait for it before a refusal.
	w.Header().Set("Connection", "close")
	q, err := query(r)
	if err != nil {
		return err
	}
	p, err := addParams(q, time.Now())
	if err != nil {
		return err
	}
	if p.Size == 0 && r.ContentLength > 0 {
		p.Size = uint64(r.ContentLength) // a little more than what is in the parts
	}
	media, attrs, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		return api.Invalid.Errorf("request Content-Type isn't multipart/form-data")
	}
	if attrs["boundary"] == "" {
		return api.Invalid.Errorf("request Content-Type has no multipart boundary")
	}
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	in := web.NewBody(w, r)
	defer context.AfterFunc(r.Context(), in.Stop)()
	body := bufio.NewReaderSize(in, 64<<10)
	up, err := newUpload(body, attrs["boundary"])
	if err != nil {
		return err
	}
	if !p.StreamChannels {
		return h.addBuffered(w, r, up, p)
	}
	if r.Header.Get("Expect") != "" {
		// A client that waits to be told to go on is told by the first read, which must
		// come before the answer. What is wrong with that read comes up again.
		_, _ = body.Peek(1)
	}
	return h.addStreamed(w, r, up, p)
}

// addStreamed answers with a line for each thing added. The trailer is there only
// where the add failed.
func (h *handler) addStreamed(w http.ResponseWriter, r *http.Request, up *upload, p api.AddParams) error {
	s := web.NewStream(w)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Chunked-Output", "1")
	if err := s.Start(); err != nil {
		return s.End(err)
	}
	_, err := h.Adder.Add(r.Context(), up, p, func(out api.AddedOutput) error { return s.Send(out) })
	if err = up.blame(err); err != nil {
		return h.end(r, s, err)
	}
	return s.EndQuietly()
}

// addBuffered answers with one array, once all is added.
func (h *handler) addBuffered(w http.ResponseWriter, r *http.Request, up *upload, p api.AddParams) error {
	var all []json.RawMessage
	pin, err := h.Adder.Add(r.Context(), up, p, func(out api.AddedOutput) error {
		line, err := json.Marshal(out)
		all = append(all, line)
		return err
	})
	setIndex(w, pin.Revision)
	if err = up.blame(err); err != nil {
		return err
	}
	return web.WriteJSON(w, all)
}

// addParams reads the parameters of an add and checks them as far as they say
// something by themselves. The error is Invalid, TooLarge, or Unsupported.
func addParams(q url.Values, now time.Time) (api.AddParams, error) {
	o, err := pinOptions(q, now)
	if err != nil {
		return api.AddParams{}, err
	}
	o.PinUpdate, o.Mode = api.CidUndef, api.PinRecursive
	a := api.DefaultAddParams()
	a.PinOptions = o
	p := &params{q: q}
	a.Format = p.oneOf("format", "", "unixfs", "car")
	a.Layout = p.oneOf("layout", "", "balanced", "trickle")
	if s := p.text("chunker"); s != "" {
		a.Chunker = s
	}
	if _, err := chunk.FromString(strings.NewReader(""), a.Chunker); err != nil {
		p.fail("parameter chunker invalid: %w", err)
	}
	if s := p.text("hash"); s != "" {
		a.HashFun = strings.ToLower(s)
	}
	if _, ok := multihash.Names[a.HashFun]; !ok {
		p.fail("parameter hash invalid: unknown hash function %q", a.HashFun)
	}
	if a.CidVersion = p.integer("cid-version"); a.CidVersion != 0 && a.CidVersion != 1 {
		p.fail("parameter cid-version invalid: it must be 0 or 1")
	}
	if a.CidVersion == 0 && a.HashFun != "sha2-256" && a.Format != "car" {
		p.fail("parameter hash invalid: %s needs cid-version=1", a.HashFun)
	}
	a.RawLeaves = p.boolean("raw-leaves", a.CidVersion > 0)
	a.Local = p.boolean("local", false)
	a.Recursive = p.boolean("recursive", false)
	a.Hidden = p.boolean("hidden", false)
	a.Wrap = p.boolean("wrap-with-directory", false)
	a.Shard = p.boolean("shard", false)
	a.Progress = p.boolean("progress", false)
	a.NoCopy = p.boolean("nocopy", false)
	a.NoPin = p.boolean("no-pin", false)
	a.StreamChannels = p.boolean("stream-channels", true)
	a.Size = p.unsigned("size", "size")
	if a.Format == "car" && a.Wrap {
		p.fail("cannot wrap a CAR file upload")
	}
	switch {
	case p.err != nil:
		return api.AddParams{}, p.err
	case a.Shard:
		return api.AddParams{}, api.Unsupported.Errorf("sharding a DAG over several peers is not supported")
	case a.NoCopy:
		return api.AddParams{}, api.Unsupported.Errorf("adding without copying is not supported")
	}
	return a, nil
}

// oneOf reads a parameter that must be one of values.
func (p *params) oneOf(name string, values ...string) string {
	s := p.text(name)
	for _, v := range values {
		if s == v {
			return s
		}
	}
	p.fail("%s parameter is invalid", name)
	return ""
}
