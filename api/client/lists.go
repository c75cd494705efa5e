package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// filterQuery writes a filter as parameters.
func filterQuery(f api.PinFilter) url.Values {
	q := url.Values{}
	for key, value := range map[string]string{"name": f.Name, "name-prefix": f.NamePrefix, "name-contains": f.NameContains} {
		if value != "" {
			q.Set(key, value)
		}
	}
	for k, v := range f.Metadata {
		q.Set("meta-"+k, v)
	}
	if f.Peer != "" {
		q.Set("peer", f.Peer.String())
	}
	for key, t := range map[string]time.Time{"since": f.Since, "before": f.Before} {
		if !t.IsZero() {
			q.Set(key, t.Format(time.RFC3339Nano))
		}
	}
	return q
}

// Select lists the pins of the pinset that pass f, of those types, all without any.
func (c *Client) Select(ctx context.Context, f api.PinFilter, types ...api.PinType) iter.Seq2[api.Pin, error] {
	q := filterQuery(f)
	if len(types) > 0 {
		q.Set("filter", join(types, api.PinType.String))
	}
	return list[api.Pin](ctx, c, request{method: http.MethodGet, path: "/allocations", query: q})
}

// SelectStatuses lists how far along the pins are that pass f and have one of the
// statuses on any peer; StatusUndefined is all.
func (c *Client) SelectStatuses(ctx context.Context, f api.PinFilter, status api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
	q := filterQuery(f)
	if status != api.StatusUndefined {
		q.Set("filter", status.String())
	}
	return list[api.GlobalPinInfo](ctx, c, request{method: http.MethodGet, path: "/pins", query: q})
}

// maxEvent bounds a line of the event stream, in bytes.
const maxEvent = 1 << 20

// Events yields what happens, of those types, all without any, until ctx ends or the
// stream breaks off. Where after is not 0 it goes on from the event with that index.
func (c *Client) Events(ctx context.Context, after uint64, types ...string) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		q := url.Values{}
		if len(types) > 0 {
			q.Set("types", strings.Join(types, ","))
		}
		if after > 0 {
			q.Set("after", strconv.FormatUint(after, 10))
		}
		res, err := c.do(ctx, request{method: http.MethodGet, path: "/events", query: q})
		if err != nil {
			yield(api.Event{}, err)
			return
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, maxEvent)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			if ctx.Err() != nil {
				break // the line may have been cut
			}
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				yield(e, fmt.Errorf("read an event: %w", err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		err = lines.Err()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if err == nil {
			err = api.Unavailable.Errorf("the peer ended the stream of events")
		}
		yield(api.Event{}, err)
	}
}
