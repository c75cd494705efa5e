package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	// beat is the time between signs of life on a stream without events.
	beat = 15 * time.Second
	// eventStall is how long a client may take nothing.
	eventStall = 30 * time.Second
)

// EventStream is one client's place among the events.
type EventStream interface {
	// Next gives the events that came since, once there are any; none where ctx ends. The
	// error is Unavailable for a client that has fallen too far behind.
	Next(ctx context.Context) ([]api.Event, error)
	Close()
}

var eventParams = []queryParam{
	{"types", list, "the types of events to tell of; all where absent"},
	{"after", integer, "goes on from the event with this id, as the header Last-Event-ID does"},
}

const eventStreamType = "text/event-stream"

// listen streams what happens as server-sent events. Their ids are log indexes: a client
// that comes back with the last one misses nothing, or is told that it did. That holds also
// for an id beyond the log, as after a restore of an older state: a refusal would end a
// browser's EventSource for good.
func (h *handler) listen(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	types := p.list("types")
	for _, t := range types {
		if !slices.Contains(api.EventTypes, t) {
			p.fail("parameter types invalid: %q is none of %s", t, strings.Join(api.EventTypes, ", "))
		}
	}
	after, resume := p.unsigned("after", "after"), p.text("after") != ""
	if id := r.Header.Get("Last-Event-ID"); id != "" && p.err == nil {
		if after, err = strconv.ParseUint(id, 10, 64); err != nil {
			return api.Invalid.Errorf("header Last-Event-ID invalid: %q is not the id of an event, a log index", id)
		}
		resume = true
	}
	if p.err != nil {
		return p.err
	}
	var lost error // why this peer cannot go on there
	if resume {
		if lost = h.catchUp(r.Context(), after, false); lost != nil {
			after = 0 // of which nobody keeps the events: a gap is told
		}
	}
	stream, err := h.Events(after, resume)
	if err != nil {
		return err
	}
	defer stream.Close()
	return sendEvents(w, r, stream, types, lost)
}

// sendEvents sends what stream gives until the client goes, or is cut off for being slow.
// lost is the cause of a gap at its start. An event is a few lines of text: see the HTML
// standard, 9.2.
func sendEvents(w http.ResponseWriter, r *http.Request, stream EventStream, types []string, lost error) error {
	w.Header().Set("Content-Type", eventStreamType)
	w.Header().Set("Cache-Control", "no-cache")
	rc := http.NewResponseController(w)
	text := []byte(": this peer tells what happens from here on\n\n")
	for {
		if err := rc.SetWriteDeadline(time.Now().Add(eventStall)); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return nil // gone
		}
		if err := rc.Flush(); err != nil {
			return nil
		}
		wait, cancel := context.WithTimeout(r.Context(), beat)
		some, err := stream.Next(wait)
		cancel()
		if r.Context().Err() != nil {
			return nil
		}
		if !web.Holds(r) {
			_, _ = io.WriteString(w, ": the token has ended: ask again with another\n\n")
			return nil
		}
		text = text[:0]
		if err != nil { // too slow: this is the last that it hears
			_, _ = fmt.Fprintf(w, ": %s\n\n", err)
			return nil
		}
		if len(some) > 0 && lost != nil {
			some[0].Error, lost = lost.Error(), nil
		}
		if text, err = appendEvents(text, some, types); err != nil {
			return nil
		}
		if len(text) == 0 {
			text = append(text, ":\n\n"...)
		}
	}
}

func appendEvents(text []byte, some []api.Event, types []string) ([]byte, error) {
	for _, e := range some {
		if len(types) > 0 && e.Type != api.EventGap && !slices.Contains(types, e.Type) {
			continue
		}
		data, err := json.Marshal(e)
		if err != nil {
			return text, err
		}
		text = fmt.Appendf(text, "id: %d\nevent: %s\ndata: %s\n\n", e.Index, e.Type, data)
	}
	return text, nil
}
