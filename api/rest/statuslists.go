package rest

import (
	"context"
	"encoding/base64"
	"iter"
	"maps"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// statusRow is a status, with the record that led to it where one did.
type statusRow struct {
	info api.GlobalPinInfo
	pin  api.Pin
}

// statusRows are the statuses that l asks for. Where the pinset has keys for what is
// asked for, its pins are looked up and each is asked about; else the lists of all
// peers are read along, in order of the bytes of CIDs.
func (h *handler) statusRows(r *http.Request, t Tracker, l listing, filter api.TrackerStatus, fields *compact) (rows[statusRow], error) {
	now := time.Now()
	var enc api.Encoder
	list := rows[statusRow]{encode: func(b []byte, row statusRow) ([]byte, error) {
		info := shownInfo(row.info, now)
		if fields != nil {
			return fields.appendRow(b, info)
		}
		return enc.AppendInfo(b, &info)
	}}
	if !byIndex(l) {
		after := api.CidUndef
		if l.cursor != "" {
			var err error
			if after, err = parseCid(l.cursor); err != nil {
				return list, errCursor()
			}
		}
		list.cursor = func(row statusRow) string { return row.info.Cid.String() }
		list.items = readAlong(t.ListAfter(r.Context(), filter, after), l.filter)
		return list, nil
	}
	after, err := l.stateCursor()
	if err != nil {
		return list, err
	}
	list.cursor = func(row statusRow) string {
		return base64.RawURLEncoding.EncodeToString(h.Pinset.SelectCursor(l.filter, row.pin))
	}
	list.items = askEach(r.Context(), t, h.Pinset.Select(r.Context(), l.filter, after, nil), filter)
	return list, nil
}

// byIndex tells whether to go by the pinset's keys: one name or pair leaves few pins, and
// of the others a page does.
func byIndex(l listing) bool {
	f := l.filter
	if f.Name != "" || len(f.Metadata) > 0 {
		return true
	}
	keyed := f.NamePrefix != "" || f.Peer != "" || !f.Since.IsZero() || !f.Before.IsZero()
	return keyed && (l.limit > 0 || l.cursor != "")
}

func readAlong(infos iter.Seq2[api.GlobalPinInfo, error], f api.PinFilter) iter.Seq2[statusRow, error] {
	return func(yield func(statusRow, error) bool) {
		for info, err := range infos {
			if (err != nil || f.MatchInfo(info)) && !yield(statusRow{info: info}, err) {
				return
			}
		}
	}
}

// askEach asks about each of the pins, several at a time. As in the lists of peers, only
// those that have a status of the filter are told of.
func askEach(ctx context.Context, t Tracker, pins iter.Seq2[api.Pin, error], filter api.TrackerStatus) iter.Seq2[statusRow, error] {
	return func(yield func(statusRow, error) bool) {
		some := make([]statusRow, 0, statusesAtOnce)
		tell := func() bool {
			g, ctx := errgroup.WithContext(ctx)
			for i := range some {
				g.Go(func() (err error) {
					some[i].info, err = t.Status(ctx, some[i].pin.Cid)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				yield(statusRow{}, err)
				return false
			}
			for _, row := range some {
				if filter != api.StatusUndefined {
					maps.DeleteFunc(row.info.PeerMap, func(_ string, p api.PinInfoShort) bool { return !p.Status.Match(filter) })
				}
				if len(row.info.PeerMap) > 0 && !yield(row, nil) {
					return false
				}
			}
			some = some[:0]
			return true
		}
		for p, err := range pins {
			if err != nil {
				yield(statusRow{}, err)
				return
			}
			if some = append(some, statusRow{pin: p}); len(some) == statusesAtOnce && !tell() {
				return
			}
		}
		tell()
	}
}

// answerStatuses answers a list of statuses.
func (h *handler) answerStatuses(w http.ResponseWriter, r *http.Request, t Tracker, p *params, filter api.TrackerStatus) error {
	l := p.listing()
	fields := compactOf[api.GlobalPinInfo](p)
	if p.err != nil {
		return p.err
	}
	followers := p.boolean("followers", false)
	if followers && (l.limit == 0 || l.limit > maxCopies) {
		return errCopies()
	}
	if l.count && filter == api.StatusUndefined && l.filter.All() { // a row a pin
		if n, kept := h.Pinset.Count(l.filter); kept {
			return web.WriteJSON(w, api.Count{Count: n})
		}
	}
	list, err := h.statusRows(r, t, l, filter, fields)
	if err != nil {
		return err
	}
	if followers {
		list.items = withCopies(r.Context(), h, list.items, func(row *statusRow) *api.GlobalPinInfo { return &row.info }, p.local())
	}
	return answer(h, w, r, l, list)
}
