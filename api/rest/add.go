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

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// maxBufferedAnswer bounds the lines of an answer that is one array, in bytes: it is
// kept until all is added. They are some 150,000 files.
const maxBufferedAnswer = 32 << 20

// add takes the files of a multipart body as they come. The answer begins with the
// first thing added: what is refused before, be it the parameters, the peers that
// should hold it or the start of the body, has its own status. With
// stream-channels=false it is one array at the end.
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
	wait, err := h.waitParam(q)
	if err != nil {
		return err
	}
	defer wait.done()
	if wait != nil && p.NoPin {
		return api.Invalid.Errorf("parameter wait invalid: with no-pin there is no pin to wait for")
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
	up := web.NewUpload(bufio.NewReaderSize(in, 64<<10), attrs["boundary"])
	if p.StreamChannels {
		return h.addStreamed(w, r, up, p, wait)
	}
	return h.addBuffered(w, r, up, p, wait)
}

// addStreamed answers with a line for each thing added. The trailers of errors are there
// only where the add failed after the first; that of the log index is wherever something
// was pinned.
func (h *handler) addStreamed(w http.ResponseWriter, r *http.Request, up *web.Upload, p api.AddParams, wait *wait) error {
	s := web.NewStream(w)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Chunked-Output", "1")
	pin, err := h.Adder.Add(r.Context(), up, p, func(out api.AddedOutput) error { return s.Send(out) })
	setIndexTrailer(w, pin.Revision)
	if err = up.Blame(err); err != nil {
		return h.end(r, s, err)
	}
	if err := wait.add(r.Context(), pin, func(out api.AddedOutput) error { return s.Send(out) }); err != nil {
		return h.end(r, s, err)
	}
	if err := s.Start(); err != nil { // 200 where there was no line
		return s.End(err)
	}
	return s.EndQuietly()
}

// addBuffered answers with one array, once all is added.
func (h *handler) addBuffered(w http.ResponseWriter, r *http.Request, up *web.Upload, p api.AddParams, wait *wait) error {
	var lines []byte
	collect := func(out api.AddedOutput) error {
		line, err := json.Marshal(out)
		if err != nil {
			return err
		}
		if len(lines)+len(line) >= maxBufferedAnswer {
			return api.TooLarge.Errorf("the answer is over %d bytes: add fewer files at a time, or have it streamed with stream-channels=true", maxBufferedAnswer)
		}
		lines = append(append(lines, ','), line...)
		return nil
	}
	pin, err := h.Adder.Add(r.Context(), up, p, collect)
	setIndex(w, pin.Revision)
	if err = up.Blame(err); err != nil {
		return err
	}
	if err := wait.add(r.Context(), pin, collect); err != nil {
		return err
	}
	if len(lines) == 0 {
		return web.WriteJSON(w, nil)
	}
	lines[0] = '['
	web.WriteLine(w, append(lines, "]\n"...))
	return nil
}

// addParams reads the parameters of an add. Whether files can be added so is for the
// adder to say. The error is Invalid or TooLarge.
func addParams(q url.Values, now time.Time) (api.AddParams, error) {
	o, err := pinOptions(q, now)
	if err != nil {
		return api.AddParams{}, err
	}
	o.PinUpdate, o.Mode = api.CidUndef, api.PinRecursive
	a := api.DefaultAddParams()
	a.PinOptions = o
	p := &params{q: q}
	a.Format = p.text("format")
	a.Layout = p.text("layout")
	if s := p.text("chunker"); s != "" {
		a.Chunker = s
	}
	if s := p.text("hash"); s != "" {
		a.HashFun = strings.ToLower(s)
	}
	a.CidVersion = p.integer("cid-version")
	if p.text("cid-version") == "" && a.HashFun != "sha2-256" {
		a.CidVersion = 1 // as Kubo: version 0 has no other hash
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
	return a, p.err
}
