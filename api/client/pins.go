package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Pin pins c and returns the record as stored, its Revision the log index of the
// change. Zero options are the cluster's defaults.
func (c *Client) Pin(ctx context.Context, id api.Cid, o api.PinOptions) (api.Pin, error) {
	return c.write(ctx, request{method: http.MethodPost, path: "/pins/" + id.String(), query: optionsQuery(o)})
}

// PinPath pins what path ("/ipfs/…", "/ipns/…", "/ipld/…") leads to.
func (c *Client) PinPath(ctx context.Context, path string, o api.PinOptions) (api.Pin, error) {
	return c.write(ctx, request{method: http.MethodPost, path: pathPins(path), query: optionsQuery(o)})
}

// Unpin takes id out of the pinset and returns the record as it was.
func (c *Client) Unpin(ctx context.Context, id api.Cid) (api.Pin, error) {
	return c.write(ctx, request{method: http.MethodDelete, path: "/pins/" + id.String()})
}

// UnpinPath unpins what path leads to.
func (c *Client) UnpinPath(ctx context.Context, path string) (api.Pin, error) {
	return c.write(ctx, request{method: http.MethodDelete, path: pathPins(path)})
}

func (c *Client) write(ctx context.Context, r request) (api.Pin, error) {
	var pin api.Pin
	index, err := c.call(ctx, r, &pin)
	pin.Revision = index
	return pin, err
}

// pathPins is the route of a content path.
func pathPins(path string) string {
	return "/pins" + (&url.URL{Path: "/" + strings.Trim(path, "/")}).EscapedPath()
}

// Allocation returns the record of id.
func (c *Client) Allocation(ctx context.Context, id api.Cid) (api.Pin, error) {
	var pin api.Pin
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/allocations/" + id.String()}, &pin)
	return pin, err
}

// Allocations lists the pinset: the pins of those types, all without any.
func (c *Client) Allocations(ctx context.Context, types ...api.PinType) iter.Seq2[api.Pin, error] {
	q := url.Values{}
	if len(types) > 0 {
		q.Set("filter", join(types, api.PinType.String))
	}
	return list[api.Pin](ctx, c, request{method: http.MethodGet, path: "/allocations", query: q})
}

// Export lists the whole pinset as it was at one log index, which it tells at first.
func (c *Client) Export(ctx context.Context, at func(index uint64)) iter.Seq2[api.Pin, error] {
	return listAfter[api.Pin](ctx, c, request{method: http.MethodGet, path: "/allocations"}, func(h http.Header) error {
		index, err := strconv.ParseUint(h.Get(api.IndexHeader), 10, 64)
		if err != nil {
			return fmt.Errorf("the peer does not tell of which log index its pinset is: %w", err)
		}
		at(index)
		return nil
	})
}

// Status tells how far along id is on each peer, or with local on the asked one.
func (c *Client) Status(ctx context.Context, id api.Cid, local bool) (api.GlobalPinInfo, error) {
	var info api.GlobalPinInfo
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/pins/" + id.String(), query: localQuery(local)}, &info)
	return info, err
}

// Copies is Status, with what followers of the cluster say in Followers.
func (c *Client) Copies(ctx context.Context, id api.Cid, local bool) (api.GlobalPinInfo, error) {
	var info api.GlobalPinInfo
	q := localQuery(local)
	q.Set("followers", "true")
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/pins/" + id.String(), query: q}, &info)
	return info, err
}

// AwaitPinned waits until all holders have id pinned, or limit, at most an hour, is up,
// and tells its status then. IPFS Cluster tells it at once.
func (c *Client) AwaitPinned(ctx context.Context, id api.Cid, limit time.Duration) (api.GlobalPinInfo, error) {
	var info api.GlobalPinInfo
	q := url.Values{"wait": {"pinned"}, "timeout": {limit.String()}}
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/pins/" + id.String(), query: q}, &info)
	return info, err
}

// StatusList chooses what Statuses lists; the zero value is all of all peers.
type StatusList struct {
	Filter api.TrackerStatus // items with one of these on any peer; StatusUndefined is all
	Cids   []api.Cid         // only these, Filter being ignored
	Local  bool              // what the asked peer says
	Copies bool              // with what followers say of Cids, at most 256
}

// Statuses lists how far along pins are.
func (c *Client) Statuses(ctx context.Context, l StatusList) iter.Seq2[api.GlobalPinInfo, error] {
	q := localQuery(l.Local)
	if l.Filter != api.StatusUndefined {
		q.Set("filter", l.Filter.String())
	}
	if len(l.Cids) > 0 {
		q.Set("cids", join(l.Cids, api.Cid.String))
	}
	if l.Copies {
		q.Set("followers", "true")
	}
	return list[api.GlobalPinInfo](ctx, c, request{method: http.MethodGet, path: "/pins", query: q})
}

// Recover has id tried again, on all peers or on the asked one, and tells its status.
func (c *Client) Recover(ctx context.Context, id api.Cid, local bool) (api.GlobalPinInfo, error) {
	var info api.GlobalPinInfo
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/pins/" + id.String() + "/recover", query: localQuery(local)}, &info)
	return info, err
}

// RecoverAll has everything that failed tried again, and lists it.
func (c *Client) RecoverAll(ctx context.Context, local bool) iter.Seq2[api.GlobalPinInfo, error] {
	return list[api.GlobalPinInfo](ctx, c, request{method: http.MethodPost, path: "/pins/recover", query: localQuery(local)})
}

func localQuery(local bool) url.Values {
	q := url.Values{}
	if local {
		q.Set("local", "true")
	}
	return q
}

// optionsQuery writes pin options as parameters; what is zero is left out.
func optionsQuery(o api.PinOptions) url.Values {
	q := url.Values{}
	set := func(key, value string, given bool) {
		if given {
			q.Set(key, value)
		}
	}
	set("replication-min", strconv.Itoa(o.ReplicationFactorMin), o.ReplicationFactorMin != 0)
	set("replication-max", strconv.Itoa(o.ReplicationFactorMax), o.ReplicationFactorMax != 0)
	set("name", o.Name, o.Name != "")
	set("mode", o.Mode.String(), o.Mode != api.PinRecursive)
	set("shard-size", strconv.FormatUint(o.ShardSize, 10), o.ShardSize != 0)
	set("user-allocations", join(o.UserAllocations, api.PeerID.String), len(o.UserAllocations) > 0)
	set("follower-allocations", join(o.Followers, api.PeerID.String), len(o.Followers) > 0)
	set("expire-at", o.ExpireAt.Format(time.RFC3339Nano), !o.ExpireAt.IsZero())
	set("pin-update", o.PinUpdate.String(), o.PinUpdate.Defined())
	set("origins", join(o.Origins, api.Multiaddr.String), len(o.Origins) > 0)
	for k, v := range o.Metadata {
		q.Set("meta-"+k, v)
	}
	return q
}

// join puts commas between the texts of items.
func join[T any](items []T, text func(T) string) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = text(item)
	}
	return strings.Join(parts, ",")
}
