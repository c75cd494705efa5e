package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	gopath "path"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// Files are told which entries of a daemon's tree of files a request is about to change.
type Files interface {
	// Change returns once the names, of entries at the top, are noted; done is called once
	// the request has been answered.
	Change(ctx context.Context, names ...string) (done func(), err error)
}

// changers are the commands that put something into the tree of files, or take it out,
// and which of their arguments are paths of what is there afterwards.
var changers = map[string][]int{
	"files/cp": {1}, "files/mv": {1}, "files/write": {0}, "files/mkdir": {0}, "files/rm": nil,
	"files/chcid": {0}, "files/chmod": {1}, "files/touch": {0},
}

// passNoted is pass for requests that change the daemon's files: what they put there is
// noted before, so that it is kept whatever happens meanwhile. A request that the daemon
// is going to refuse notes nothing.
func (h *handler) passNoted(w http.ResponseWriter, r *http.Request) {
	paths, changes := changers[strings.TrimPrefix(r.URL.Path, prefix)]
	if h.Files == nil || !changes || r.Method != http.MethodPost {
		h.daemon.pass(w, r)
		return
	}
	if _, ok := h.daemon.judge(r); !ok {
		h.daemon.pass(w, r)
		return
	}
	args := r.URL.Query()["arg"]
	if strings.HasSuffix(r.URL.Path, "/files/mv") && len(args) == 2 && within(args[0], args[1]) {
		h.WriteError(w, &api.Error{Code: http.StatusInternalServerError, Message: fmt.Sprintf("cannot move %s into itself, to %s", args[0], args[1])})
		return
	}
	var names []string
	for _, i := range paths {
		if i >= len(args) {
			break
		}
		p := args[i]
		if strings.HasSuffix(p, "/") && len(args) > 1 {
			p += gopath.Base(args[0]) // it goes into that directory under its own name
		}
		names = append(names, topName(p))
	}
	done, err := h.Files.Change(r.Context(), names...)
	if err != nil {
		h.WriteError(w, &api.Error{Code: http.StatusInternalServerError, Message: err.Error()})
		return
	}
	defer done()
	h.daemon.pass(w, r)
}

// within tells whether moving a directory from src to dst puts it into itself: Kubo then
// takes it away where it was, with all that is in it.
func within(src, dst string) bool {
	src, dst = gopath.Clean("/"+src), gopath.Clean("/"+dst)
	return src == dst || strings.HasPrefix(dst, src+"/")
}

// topName is the entry at the top of the tree that a path goes through, "" for none.
func topName(p string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(gopath.Clean("/"+p), "/"), "/")
	return name
}

// intoDaemon has the daemon put an added node into its tree of files.
func (c *call) intoDaemon(to string, o api.AddedOutput) error {
	done, err := c.Files.Change(c.ctx, topName(to))
	if err != nil {
		return err
	}
	defer done()
	u := *c.daemon.base
	u.Path, u.RawQuery = prefix+"files/cp", url.Values{"arg": {"/ipfs/" + o.Cid.String(), to}}.Encode()
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return err
	}
	res, err := c.daemon.client.Do(req)
	if err != nil {
		return api.Unavailable.Errorf("the IPFS daemon does not answer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("to-files: %w", daemonError(res))
	}
	return nil
}
