package rest

import (
	"encoding/base64"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	// maxPage bounds the rows of a page, and maxPageBytes their bytes: a page of large
	// rows ends early.
	maxPage      = 10000
	maxPageBytes = 4 << 20
	// maxCursor bounds the text of a cursor.
	maxCursor = 1024
)

// pageParams are what all lists take.
var pageParams = []queryParam{
	{"limit", integer, "how many rows a page has at most, 1 to 10000; X-Pinfold-Cursor is there where more may follow. All rows are in the answer where absent"},
	{"cursor", text, "goes on from the page that gave it in X-Pinfold-Cursor, with the same other parameters"},
	{"count", boolean, "answers with the number of rows instead: an object with count"},
}

// listParams are what all lists of pins take.
var listParams = slices.Concat([]queryParam{
	{"name", text, "pins of exactly this name"},
	{"name-prefix", text, "pins whose name begins so"},
	{"name-contains", text, "pins whose name has this in it"},
	{"meta-", prefixed, "pins whose metadata has this pair, a parameter a key"},
	{"peer", text, "pins that this peer holds, or is to"},
	{"since", text, "pins created then or later, an RFC 3339 time"},
	{"before", text, "pins created before, an RFC 3339 time"},
	fieldsParam,
}, pageParams, readParams)

// listing is what a request for a list asks for.
type listing struct {
	filter api.PinFilter
	limit  int // 0: all, streamed
	cursor string
	count  bool
	of     string // the path of a short list, which its cursors name
}

// paging reads which part of a list is asked for. What is wrong is in p.err.
func (p *params) paging() listing {
	l := listing{cursor: p.text("cursor"), count: p.boolean("count", false)}
	if p.text("limit") != "" {
		if l.limit = p.integer("limit"); l.limit < 1 || l.limit > maxPage {
			p.fail("parameter limit invalid: it must be 1 to %d", maxPage)
		}
	}
	if l.count && (l.limit > 0 || l.cursor != "" || p.text("fields") != "") {
		p.fail("parameter count invalid: it counts all rows, without limit, cursor and fields")
	}
	if len(l.cursor) > maxCursor {
		p.fail("parameter cursor invalid: it is over %d bytes", maxCursor)
	}
	return l
}

// listing reads what is asked for of a list of pins. What is wrong is in p.err.
func (p *params) listing() listing {
	l := p.paging()
	l.filter = api.PinFilter{Name: p.text("name"), NamePrefix: p.text("name-prefix"), NameContains: p.text("name-contains"),
		Since: p.time("since"), Before: p.time("before")}
	if s := p.text("peer"); s != "" {
		id, err := api.ParsePeerID(s)
		if err != nil {
			p.fail("parameter peer invalid: %w", err)
		}
		l.filter.Peer = id
	}
	for key := range p.q {
		if name, ok := strings.CutPrefix(key, "meta-"); ok {
			if name == "" {
				p.fail("parameter meta- invalid: it names no key of the metadata")
			}
			if l.filter.Metadata == nil {
				l.filter.Metadata = map[string]string{}
			}
			l.filter.Metadata[name] = p.text(key)
		}
	}
	return l
}

// alone refuses parameters of others beside the one named.
func (p *params) alone(name string, others []queryParam) error {
	for key := range p.q {
		for _, o := range others {
			if key == o.name && o.name != "consistency" && o.name != "index" || o.kind == prefixed && strings.HasPrefix(key, o.name) {
				return api.Invalid.Errorf("parameter %s invalid: it cannot be beside %s, which names the rows", key, name)
			}
		}
	}
	return nil
}

// time reads an RFC 3339 time; zero where it is absent.
func (p *params) time(name string) time.Time {
	s := p.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		p.fail("parameter %s invalid: %w", name, err)
	}
	return t
}

// stateCursor is the place in a list of the pinset that the cursor marks, nil for its
// start.
func (l listing) stateCursor() ([]byte, error) {
	if l.cursor == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(l.cursor)
	if err != nil || len(b) == 0 {
		return nil, errCursor()
	}
	return b, nil
}

func errCursor() error {
	return api.Invalid.Errorf("parameter cursor invalid: it is not what X-Pinfold-Cursor gave for this list")
}

// rows are a list on its way to a client.
type rows[T any] struct {
	items  iter.Seq2[T, error]
	encode func([]byte, T) ([]byte, error)
	cursor func(T) string // marks a row's place
}

// answer sends the rows as l asks for them: their number, a page, or all.
func answer[T any](h *handler, w http.ResponseWriter, r *http.Request, l listing, list rows[T]) error {
	switch {
	case l.count:
		return answerCount(w, list.items)
	case l.limit > 0:
		return answerPage(w, l, list)
	}
	s := web.NewStream(w)
	var failed error
	for item, err := range list.items {
		if err == nil {
			err = s.Append(func(b []byte) ([]byte, error) { return list.encode(b, item) })
		}
		if err != nil {
			failed = err
			break
		}
	}
	return h.end(r, s, failed)
}

func answerCount[T any](w http.ResponseWriter, items iter.Seq2[T, error]) error {
	var n uint64
	for _, err := range items {
		if err != nil {
			return err
		}
		n++
	}
	return web.WriteJSON(w, api.Count{Count: n})
}

// answerPage sends one page whole, so that its header can tell where the next begins.
func answerPage[T any](w http.ResponseWriter, l listing, list rows[T]) error {
	var page []byte
	var last T
	n, more := 0, false
	for item, err := range list.items {
		if err != nil {
			return err
		}
		if more = n == l.limit || len(page) >= maxPageBytes; more {
			break
		}
		if page, err = list.encode(page, item); err != nil {
			return err
		}
		page = append(page, '\n')
		last = item
		n++
	}
	if n == 0 {
		web.NoContent(w)
		return nil
	}
	if more {
		w.Header().Set(api.CursorHeader, list.cursor(last))
	}
	web.WriteLine(w, page)
	return nil
}

// pinRows are the pins of the pinset that l asks for, of wanted types. The header names
// the log index at which the pinset was.
func (h *handler) pinRows(header http.Header, r *http.Request, l listing, wanted map[api.PinType]bool, fields *compact) (rows[api.Pin], error) {
	after, err := l.stateCursor()
	if err != nil {
		return rows[api.Pin]{}, err
	}
	var enc api.Encoder
	list := rows[api.Pin]{
		cursor: func(p api.Pin) string {
			return base64.RawURLEncoding.EncodeToString(h.Pinset.SelectCursor(l.filter, p))
		},
		encode: func(b []byte, p api.Pin) ([]byte, error) {
			p = stored(p)
			if fields != nil {
				return fields.appendRow(b, p)
			}
			return enc.AppendPin(b, &p)
		},
	}
	at := func(index uint64) { header.Set(api.IndexHeader, strconv.FormatUint(index, 10)) }
	list.items = func(yield func(api.Pin, error) bool) {
		for p, err := range h.Pinset.Select(r.Context(), l.filter, after, at) {
			if err == nil && wanted != nil && !wanted[p.Type] {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
	return list, nil
}
