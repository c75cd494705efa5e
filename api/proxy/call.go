package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// call is one request of a command, and its answer.
type call struct {
	*handler
	*answer
	ctx     context.Context
	args    []string
	opts    map[string]any
	files   *web.Upload // nil without a body
	query   string      // as it came
	in      *web.Body   // the body as it comes, nil without one
	r       *http.Request
	cids    encoder
	badBase error // why there is no such encoder
}

// boolean, text, number and list read options. number tells whether there is a value.
func (c *call) boolean(name string) bool { v, _ := c.opts[name].(bool); return v }
func (c *call) text(name string) string  { v, _ := c.opts[name].(string); return v }
func (c *call) given(name string) bool   { _, ok := c.opts[name]; return ok }

func (c *call) number(name string) (int64, bool) {
	switch v := c.opts[name].(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), true
	}
	return 0, false
}

// cid gives the text of a CID as the request wants it.
func (c *call) cid(x cid.Cid) string { return c.cids.encode(x) }

// serve answers a request of command cmd.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, cmd *command, first []string) {
	c, end, err := h.newCall(w, r, cmd, first)
	if err != nil {
		w.Header().Set("Connection", "close") // of a body nothing more is read
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer end()
	defer h.active.begin(c, cmd.path)()
	err = c.run(cmd)
	if c.files != nil {
		err = c.files.Blame(err)
	}
	if err = c.end(err); err != nil {
		h.log.Error("request failed", "command", cmd.path, "err", err)
	}
}

// run runs the command. Its context's end is named as the reason of an error that
// came of it.
func (c *call) run(cmd *command) error {
	if cmd.run == nil {
		return nil // Kubo has nothing to say to the name of a group of commands
	}
	if c.badBase != nil {
		return c.badBase
	}
	err := cmd.run(c)
	if err != nil && c.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(c.ctx)
	}
	return err
}

// newCall reads a request. end releases what it takes. An error is the client's fault.
func (h *handler) newCall(w http.ResponseWriter, r *http.Request, cmd *command, first []string) (c *call, end func(), err error) {
	args, opts, err := parse(cmd, r, first)
	if err != nil {
		return nil, nil, err
	}
	if enc, _ := opts["encoding"].(string); enc != "json" {
		return nil, nil, api.Invalid.Errorf("invalid encoding: %s", enc)
	}
	timeout, err := timeoutOf(opts)
	if err != nil {
		return nil, nil, err
	}
	cids, badBase := newEncoder(opts)
	dir, in, err := body(w, r)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	if limit := cmd.limit(); timeout > 0 && (limit == 0 || timeout < limit) {
		ctx, cancel = context.WithTimeout(r.Context(), timeout)
	} else if limit > 0 {
		ctx, cancel = context.WithTimeout(r.Context(), limit)
	}
	stop := func() bool { return true }
	if in != nil {
		// The answer may begin before the body has ended.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			cancel()
			return nil, nil, err
		}
		stop = context.AfterFunc(ctx, in.Stop)
	}
	end = func() { stop(); cancel() }
	if args, err = fill(cmd, args, dir); err != nil {
		end()
		return nil, nil, err
	}
	c = &call{handler: h, answer: newAnswer(w, in != nil), ctx: ctx, args: args, opts: opts, files: dir,
		query: r.URL.RawQuery, cids: cids, badBase: badBase, in: in, r: r}
	return c, end, nil
}
