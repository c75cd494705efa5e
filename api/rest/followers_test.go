package rest

import (
	"context"
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

func (f followers) List() []api.Follower { return f.c.followers }

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
	if res, _ := do(t, "GET", url+"/followers/link", nil); res.StatusCode != 405 {
		t.Errorf("a link by GET: %d", res.StatusCode)
	}
}
