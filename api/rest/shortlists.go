package rest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Lists of peers and of metrics are short: they are made whole, and cut into pages in the
// order of a key that each row has for itself.

// paging reads which part of a list r asks for.
func paging(r *http.Request) (listing, error) {
	q, err := query(r)
	if err != nil {
		return listing{}, err
	}
	p := params{q: q}
	l := p.paging()
	l.of = r.URL.Path
	return l, p.err
}

// all tells whether no page is asked for.
func (l listing) all() bool { return l.limit == 0 && l.cursor == "" }

// cursorAt marks the place after key in the list. It names the list, so that what was
// not given for it is told from what was.
func (l listing) cursorAt(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(l.of + " " + key))
}

// afterKey is the key that the cursor marks, "" for the start of the list.
func (l listing) afterKey() (string, error) {
	text, err := l.stateCursor()
	if err != nil || text == nil {
		return "", err
	}
	after, ok := strings.CutPrefix(string(text), l.of+" ")
	if !ok {
		return "", errCursor()
	}
	return after, nil
}

// cut gives the page that l asks for, in the order of key. The header tells where the
// next one begins.
func cut[T any](header http.Header, l listing, items []T, key func(T) string) ([]T, error) {
	after, err := l.afterKey()
	if err != nil {
		return nil, err
	}
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if first := slices.IndexFunc(items, func(item T) bool { return key(item) > after }); first >= 0 {
		items = items[first:]
	} else {
		items = nil
	}
	if l.limit > 0 && len(items) > l.limit {
		items = items[:l.limit]
		header.Set(api.CursorHeader, l.cursorAt(key(items[l.limit-1])))
	}
	return items, nil
}

// answerArray answers with one array of what r asks for of items; all of them in their
// own order.
func answerArray[T any](w http.ResponseWriter, r *http.Request, items []T, key func(T) string) error {
	l, err := paging(r)
	if err != nil {
		return err
	}
	if l.count {
		return web.WriteJSON(w, api.Count{Count: uint64(len(items))})
	}
	if !l.all() {
		if items, err = cut(w.Header(), l, items, key); err != nil {
			return err
		}
	}
	return web.WriteJSON(w, orEmpty(items))
}

// answerLines answers with a line for each of what l asks for of items.
func answerLines[T any](h *handler, w http.ResponseWriter, r *http.Request, l listing, items []T, key func(T) string) error {
	if l.count {
		return web.WriteJSON(w, api.Count{Count: uint64(len(items))})
	}
	items, err := cut(w.Header(), l, items, key)
	if err != nil {
		return err
	}
	s := web.NewStream(w)
	for _, item := range items {
		if err = s.Send(item); err != nil {
			break
		}
	}
	return h.end(r, s, err)
}

func (h *handler) alerts(w http.ResponseWriter, r *http.Request) error {
	return answerArray(w, r, h.Monitor.Alerts(), func(a api.Alert) string { // the latest first
		return fmt.Sprintf("%016x %s %s", uint64(math.MaxInt64-a.TriggeredAt.UnixNano()), a.Peer, a.Name)
	})
}

func (h *handler) metricNames(w http.ResponseWriter, r *http.Request) error {
	return answerArray(w, r, h.Monitor.Names(), func(name string) string { return name })
}

func (h *handler) metrics(w http.ResponseWriter, r *http.Request) error {
	name, err := param(r, "name")
	if err != nil {
		return err
	}
	byPeer := func(m api.Metric) string { return m.Peer.String() }
	metrics, err := cut(w.Header(), listing{}, h.Monitor.Latest(name), byPeer)
	if err != nil {
		return err
	}
	return answerArray(w, r, metrics, byPeer)
}

func encodeJSON[T any](b []byte, v T) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}
