package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// A route is one method of one path: what serves it, and what /openapi.json tells of it.
type route struct {
	method string
	scope  api.Scope // that who asks must have
	path   string    // {name} is one part of the path, and {path} at its end all that is left
	about  string
	params []queryParam
	body   string // the media type of the request's body, "" for none
	needs  any    // a value of the type of a body of JSON
	lines  bool   // the answer is a stream of results, 204 where there are none
	picks  bool   // the parameter fields chooses what is in a row
	media  string // the type of the answer where it is not JSON
	status int    // of the answer with a result; 200 where 0
	result any    // a value of the type of the answer, nil for none
	serve  web.HandlerFunc
}

// A queryParam is a parameter of the query.
type queryParam struct {
	name  string
	kind  kind
	about string
}

// kind is the type of a parameter.
type kind string

const (
	text     kind = "string"
	integer  kind = "integer"
	boolean  kind = "boolean" // as Go's strconv.ParseBool has it
	list     kind = "array"   // with commas between the items
	prefixed kind = "object"  // any number of parameters whose names begin so
)

// pattern is the route's path as chi has it.
func (r route) pattern() string { return strings.Replace(r.path, "{path}", "*", 1) }

const (
	multipartType = "multipart/form-data"
	jsonType      = "application/json"
)

var (
	localParam = queryParam{"local", boolean, "true asks the contacted peer alone; false, and any other boolean, asks all"}

	optionParams = []queryParam{
		{"name", text, "what people call the pin"},
		{"mode", text, "recursive, or direct for the root block alone"},
		{"replication", integer, "sets both replication-min and replication-max"},
		{"replication-min", integer, "the fewest copies; -1 is one on every peer, 0 the cluster's default"},
		{"replication-max", integer, "the most copies; -1 is one on every peer, 0 the cluster's default"},
		{"shard-size", integer, "kept with the pin, without effect"},
		{"user-allocations", list, "peers to be preferred as holders"},
		{"follower-allocations", list, "followers of the cluster that are to hold copies too, which do not count towards replication"},
		{"expire-at", text, "when the pin goes, an RFC 3339 time"},
		{"expire-in", text, "after how long the pin goes, a Go duration of at least a second; without effect beside expire-at"},
		{"meta-", prefixed, "metadata, a parameter a key"},
		{"pin-update", text, "a CID in the pinset whose options and holders are taken over"},
		{"origins", list, "addresses, each with its /p2p, of nodes that have the content"},
	}

	addOnlyParams = []queryParam{
		{"format", text, "unixfs (the default) or car"},
		{"layout", text, "balanced (the default) or trickle"},
		{"chunker", text, "size-N, rabin-min-avg-max or buzhash; size-262144"},
		{"hash", text, "a multihash name; sha2-256"},
		{"cid-version", integer, "0 or 1"},
		{"raw-leaves", boolean, "leaves are bare bytes; true with CIDs of version 1"},
		{"local", boolean, "blocks go to the contacted peer first, and from there to the others"},
		{"recursive", boolean, "a hint of clients, without effect"},
		{"hidden", boolean, "a hint of clients, without effect"},
		{"wrap-with-directory", boolean, "adds a directory around everything"},
		{"shard", boolean, "refused: one DAG is not cut up between peers"},
		{"progress", boolean, "adds lines with the bytes read so far"},
		{"nocopy", boolean, "refused: content is always copied"},
		{"no-pin", boolean, "stores blocks and pins nothing"},
		{"stream-channels", boolean, "lines as they come (the default), or with false one array at the end"},
		{"size", integer, "the bytes to be expected, for the choice of peers; the length of the body where 0"},
	}
)

// routes is the table of all routes. A parameter, or a field of an answer, that is not
// told of here is not there as far as clients know: tests compare.
func (h *handler) routes() []route {
	addParams := slices.Concat(optionParams, addOnlyParams, waitParams)
	pinParams := slices.Concat(optionParams, waitParams)
	rs := []route{
		{method: "GET", scope: api.ScopeRead, path: "/id", about: "who the contacted peer is", result: api.Peer{}, serve: h.id},
		{method: "GET", scope: api.ScopeRead, path: "/version", about: "the version of the contacted peer", result: api.Version{}, serve: h.version},
		{method: "GET", scope: api.ScopeRead, path: "/peers", about: "all peers of the cluster; on pages, by ID", params: pageParams, lines: true, result: api.Peer{}, serve: h.peers},
		{method: "POST", scope: api.ScopeAdmin, path: "/peers", about: "tells of a peer that is in the cluster; one joins by itself, with a token",
			body: jsonType, needs: api.PeerRequest{}, result: api.Peer{}, serve: h.addPeer},
		{method: "POST", scope: api.ScopeAdmin, path: "/peers/invite", about: "makes a token with which one peer can join",
			params: []queryParam{{"ttl", text, "for how long it is good, a Go duration; 24h"}}, result: api.Invitation{}, serve: h.invite},
		{method: "DELETE", scope: api.ScopeAdmin, path: "/peers/{peer}", about: "removes a peer from the cluster",
			params: []queryParam{{"revoke", boolean, "true renews the cluster's key too, which the peer knows: for one that was taken over, also if it was removed before; unused invitations and all tokens are void then"}}, status: http.StatusNoContent, serve: h.removePeer},

		{method: "GET", scope: api.ScopeRead, path: "/followers", about: "the followers that peers of the cluster know, as they tell and prove; by ID", params: slices.Concat([]queryParam{localParam}, pageParams), lines: true, result: api.Follower{}, serve: h.followers},
		{method: "GET", scope: api.ScopeRead, path: "/followers/{id}", about: "one follower, as it tells and proves", params: []queryParam{localParam}, result: api.Follower{}, serve: h.follower},
		{method: "POST", scope: api.ScopeAdmin, path: "/followers/link", about: "makes a link with which any number of peers can follow the cluster", result: api.FollowLink{}, serve: h.followLink},

		{method: "POST", scope: api.ScopeWrite, path: "/add", about: "adds the files of the body and pins their root; with stream-channels=false the answer is one array of its lines",
			params: addParams, body: multipartType, lines: true, result: api.AddedOutput{}, serve: h.add},
		{method: "GET", scope: api.ScopeRead, path: "/allocations", about: "the pinset: what shall be kept, and where; as it was at the log index in X-Pinfold-Index",
			params: append([]queryParam{{"filter", list, "types of pins: pin, meta-pin, clusterdag-pin, shard-pin, all"}}, listParams...), lines: true, picks: true, result: api.Pin{}, serve: h.fresh(h.allocations)},
		{method: "GET", scope: api.ScopeRead, path: "/allocations/{cid}", about: "one pin of the pinset", params: readParams, result: api.Pin{}, serve: h.fresh(h.allocation)},

		{method: "GET", scope: api.ScopeRead, path: "/pins", about: "how far along pins are on each peer", lines: true, picks: true, result: api.GlobalPinInfo{}, params: append([]queryParam{localParam,
			{"filter", list, "statuses, of which a peer must report one"},
			{"cids", list, "the pins to tell of, in the pinset or not; filter is then without effect"}, followersParam}, listParams...), serve: h.fresh(h.statuses)},
		{method: "POST", scope: api.ScopeWrite, path: "/pins", about: "pins and unpins what the lines of the body say, and answers each with a line", body: "application/x-ndjson",
			lines: true, result: api.BulkResult{}, serve: h.bulk},
		{method: "POST", scope: api.ScopeWrite, path: "/pins/recover", about: "tries again what has failed", params: []queryParam{localParam}, lines: true, result: api.GlobalPinInfo{}, serve: h.recoverAll},
		{method: "GET", scope: api.ScopeRead, path: "/pins/{cid}", about: "how far along one pin is; one that is not in the pinset is unpinned everywhere",
			params: slices.Concat([]queryParam{localParam, followersParam}, statusWaitParams, readParams), result: api.GlobalPinInfo{}, serve: h.fresh(h.status)},
		{method: "POST", scope: api.ScopeWrite, path: "/pins/{cid}", about: "pins a CID", params: pinParams, result: api.WaitedPin{}, serve: h.pin},
		{method: "DELETE", scope: api.ScopeWrite, path: "/pins/{cid}", about: "unpins a CID", result: api.Pin{}, serve: h.unpin},
		{method: "POST", scope: api.ScopeWrite, path: "/pins/{cid}/recover", about: "tries one pin again", params: []queryParam{localParam}, result: api.GlobalPinInfo{}, serve: h.recover},

		{method: "POST", scope: api.ScopeAdmin, path: "/ipfs/gc", about: "removes blocks that nothing keeps from the peers' nodes", params: []queryParam{localParam}, result: api.GlobalRepoGC{}, serve: h.gc},
		{method: "GET", scope: api.ScopeNone, path: "/health", about: "answers while the peer runs, without credentials too", status: http.StatusNoContent, serve: h.health},
		{method: "GET", scope: api.ScopeRead, path: "/health/graph", about: "who is connected with whom", result: api.ConnectGraph{}, serve: h.graph},
		{method: "GET", scope: api.ScopeRead, path: "/health/bandwidth", about: "what the contacted peer's protocols have carried", result: map[string]api.Bandwidth{}, serve: h.bandwidth},
		{method: "GET", scope: api.ScopeRead, path: "/health/alerts", about: "metrics that have run out, the latest first", params: pageParams, result: []api.Alert{}, serve: h.alerts},
		{method: "GET", scope: api.ScopeRead, path: "/monitor/metrics", about: "the names of metrics", params: pageParams, result: []string{}, serve: h.metricNames},
		{method: "GET", scope: api.ScopeRead, path: "/monitor/metrics/{name}", about: "the valid metrics of a name, one a peer", params: pageParams, result: []api.Metric{}, serve: h.metrics},
		{method: "GET", scope: api.ScopeRead, path: "/repair", about: "how repair is going, as the leader tells it", result: api.RepairStatus{}, serve: h.repair},
		{method: "POST", scope: api.ScopeRead, path: "/token", about: "makes a token for who asks with a password",
			params: []queryParam{{"ttl", text, "for how long it is good, a Go duration; 2160h"},
				{"scope", text, "read, write or admin: what it lets the user do at most; all that the user may where absent"}}, result: api.Token{}, serve: h.token},
		{method: "DELETE", scope: api.ScopeAdmin, path: "/token/{id}", about: "revokes the token with that ID on every peer", status: http.StatusNoContent, serve: h.revokeToken},
		{method: "GET", scope: api.ScopeRead, path: "/events", about: "what happens, as server-sent events whose ids are log indexes", params: eventParams, media: eventStreamType, result: "", serve: h.listen},
		{method: "GET", scope: api.ScopeRead, path: "/metrics", about: "figures of the contacted peer, for Prometheus", media: "text/plain", result: "", serve: h.figures},
		{method: "GET", scope: api.ScopeRead, path: "/openapi.json", about: "this document", result: object{}, serve: h.document},
	}
	for _, namespace := range []string{"ipfs", "ipns", "ipld"} {
		path := "/pins/" + namespace + "/{path}"
		rs = append(rs,
			route{method: "POST", scope: api.ScopeWrite, path: path, about: "pins what a path leads to", params: pinParams, result: api.WaitedPin{}, serve: h.pinPath},
			route{method: "DELETE", scope: api.ScopeWrite, path: path, about: "unpins what a path leads to", result: api.Pin{}, serve: h.unpinPath})
	}
	return rs
}
