package rest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// followers are those of a cluster; a link is made unless link says otherwise.
type followers struct{ c *cluster }

func (f followers) Link(context.Context) (api.FollowLink, error) {
	f.c.called("follow link")
	return api.FollowLink{Link: "pinfold-follow1_x", Document: map[string]any{"pinfold_follow": 1}}, f.c.link
}

// List gives the first one alone with local.
func (f followers) List(_ context.Context, after api.PeerID, local bool) iter.Seq2[api.Follower, error] {
	return func(yield func(api.Follower, error) bool) {
		for _, known := range f.c.followers {
			if known.ID > after && !yield(known, nil) || local {
				return
			}
		}
	}
}

func (f followers) Get(ctx context.Context, id api.PeerID, local bool) (api.Follower, error) {
	for known := range f.List(ctx, "", local) {
		if known.ID == id {
			return known, nil
		}
	}
	return api.Follower{}, api.NotFound.Errorf("no follower %s is known", id)
}

func (f followers) Copies(_ context.Context, cids []api.Cid, _ bool) ([]api.PinInfo, error) {
	var out []api.PinInfo
	for _, c := range cids {
		for _, known := range f.c.followers {
			out = append(out, api.PinInfo{Cid: c, Peer: known.ID, PinInfoShort: api.PinInfoShort{PeerName: known.Name, Status: api.StatusPinned}})
		}
	}
	return out, nil
}

func TestFollowers_ListAndLink(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	if res, text := do(t, "GET", url+"/followers", nil); res.StatusCode != 204 || text != "" {
		t.Errorf("none: got %d %s", res.StatusCode, text)
	}
	agrees := true
	c.followers = []api.Follower{
		{FollowerStatus: api.FollowerStatus{ID: apitest.PeerID(t, p0), Name: "one", Index: 7, Hold: "all", Pinned: 3}, Agrees: &agrees, Proven: 2},
		{FollowerStatus: api.FollowerStatus{ID: apitest.PeerID(t, p1)}, Error: "it does not answer"},
	}
	res, text := do(t, "GET", url+"/followers", nil)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if res.StatusCode != 200 || len(lines) != 2 || !strings.Contains(lines[0], `"agrees":true`) || !strings.Contains(lines[1], `"error":"it does not answer"`) {
		t.Errorf("got %d %s", res.StatusCode, text)
	}
	if res, text := do(t, "POST", url+"/followers/link", nil); res.StatusCode != 200 || !strings.Contains(text, `"link":"pinfold-follow1_x"`) {
		t.Errorf("link: got %d %s", res.StatusCode, text)
	}
	c.link = api.Conflict.Errorf("cluster.join_policy is secret")
	if res, text := do(t, "POST", url+"/followers/link", nil); res.StatusCode != 409 || !strings.Contains(text, "join_policy") {
		t.Errorf("no link: got %d %s", res.StatusCode, text)
	}
	if res, _ := do(t, "GET", url+"/followers/link", nil); res.StatusCode != 400 {
		t.Errorf("a link by GET: %d", res.StatusCode)
	}
}

func TestFollowers_OnPagesAndOne(t *testing.T) {
	c := &cluster{}
	url := c.serve(t)
	for _, id := range []string{p0, p1} {
		c.followers = append(c.followers, api.Follower{FollowerStatus: api.FollowerStatus{ID: apitest.PeerID(t, id), Name: id}})
	}
	slices.SortFunc(c.followers, func(a, b api.Follower) int { return strings.Compare(string(a.ID), string(b.ID)) })
	first, second := c.followers[0].ID.String(), c.followers[1].ID.String()
	for _, tt := range []struct {
		query, want, cursor string
		status              int
	}{
		{"/followers?limit=1", first, first, 200},
		{"/followers?limit=1&cursor=" + first, second, "", 200},
		{"/followers?limit=1&cursor=" + second, "", "", 204},
		{"/followers?local=true", first, "", 200},
		{"/followers?count=true", `{"count":2}`, "", 200},
		{"/followers/" + second, second, "", 200},
		{"/followers/" + second + "?local=true", "no follower", "", 404},
		{"/followers?cursor=x", "cursor", "", 400},
		{"/followers?limit=0", "limit", "", 400},
		{"/followers?local=maybe", "local", "", 400},
		{"/followers/x", "Peer ID", "", 400},
		{"/followers/" + first + "?local=maybe", "local", "", 400},
	} {
		res, text := do(t, "GET", url+tt.query, nil)
		if res.StatusCode != tt.status || !strings.Contains(text, tt.want) || res.Header.Get(api.CursorHeader) != tt.cursor {
			t.Errorf("%s: got %d %q %q", tt.query, res.StatusCode, res.Header.Get(api.CursorHeader), text)
		}
		if tt.cursor != "" && strings.Contains(text, second) {
			t.Errorf("%s: a page of one has more: %s", tt.query, text)
		}
	}
}

func TestFollowers_CopiesApart(t *testing.T) {
	c := &cluster{followers: []api.Follower{{FollowerStatus: api.FollowerStatus{ID: apitest.PeerID(t, p1), Name: "volunteer"}}}}
	pins := []api.Pin{{Cid: apitest.Cid(t, cid0)}, {Cid: apitest.Cid(t, cid1)}}
	c.status = func(id api.Cid) (api.GlobalPinInfo, error) { return api.GlobalPinInfo{Cid: id}, nil }
	c.list = func(api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
		return seq(nil, api.GlobalPinInfo{Cid: pins[0].Cid}, api.GlobalPinInfo{Cid: pins[1].Cid})
	}
	url := c.serve(t)
	many := strings.Repeat("bafkqaaa,", maxCopies) + cid1 // short ones, for the address is bounded
	for _, tt := range []struct {
		query  string
		status int
		rows   int // with copies
		want   string
	}{
		{"/pins/" + cid0, 200, 0, "peer_map"},
		{"/pins/" + cid0 + "?followers=true", 200, 1, `"followers":{"` + p1 + `":{"peername":"volunteer"`},
		{"/pins?cids=" + cid0 + "," + cid1 + "&followers=true", 200, 2, cid1},
		{"/pins?limit=1&followers=true", 200, 1, cid0},
		{"/pins?limit=1&followers=true&fields=cid,followers", 200, 1, cid0},
		{"/pins?limit=2&followers=false", 200, 0, cid1},
		{"/pins?followers=true", 400, 0, "limit"},
		{"/pins?limit=257&followers=true", 400, 0, "256"},
		{"/pins?followers=true&cids=" + many, 400, 0, "256"},
		{"/pins/" + cid0 + "?followers=maybe", 400, 0, "followers"},
	} {
		res, text := do(t, "GET", url+tt.query, nil)
		if res.StatusCode != tt.status || strings.Count(text, `"followers":{`) != tt.rows || !strings.Contains(text, tt.want) {
			t.Errorf("%.100s: got %d %.500s", tt.query, res.StatusCode, text)
		}
	}
}
