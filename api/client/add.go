package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

// Add sends the entries of dir, adds them as p says and pins the root, which is the
// last thing it yields. With p.Progress there are also lines that have only a name
// and the bytes read so far. p.StreamChannels is ignored: lines come as they are
// made. What p leaves empty is the server's default.
//
// An error of dir's own (a file that cannot be read) ends the add and is yielded.
func (c *Client) Add(ctx context.Context, dir files.Directory, p api.AddParams) iter.Seq2[api.AddedOutput, error] {
	return c.AddTelling(ctx, dir, p, func(int) {})
}

// AddTelling is Add, and has sent called with the bytes that are on their way, each time
// some are, from another goroutine. In the end they are a little more than the files'.
func (c *Client) AddTelling(ctx context.Context, dir files.Directory, p api.AddParams, sent func(n int)) iter.Seq2[api.AddedOutput, error] {
	return func(yield func(api.AddedOutput, error) bool) {
		multi := files.NewMultiFileReader(dir, true, false)
		body := &upload{r: multi, sent: sent}
		lines := list[api.AddedOutput](ctx, c, request{
			method: http.MethodPost, path: "/add", query: addQuery(p), body: body,
			contentType: "multipart/form-data; boundary=" + multi.Boundary(),
		})
		for line, err := range lines {
			if err != nil {
				// Where reading the files failed, the server only saw the upload break off.
				if cause := body.failure(); cause != nil {
					err = cause
				}
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// upload is a request's body that remembers why it could not be read.
type upload struct {
	r    *files.MultiFileReader
	sent func(n int)

	mu  sync.Mutex
	err error
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.sent(n)
	if err != nil && !errors.Is(err, io.EOF) {
		u.mu.Lock()
		u.err = err
		u.mu.Unlock()
	}
	return n, err
}

func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func addQuery(p api.AddParams) url.Values {
	q := optionsQuery(p.PinOptions)
	for key, v := range map[string]string{"format": p.Format, "layout": p.Layout, "chunker": p.Chunker, "hash": p.HashFun} {
		if v != "" {
			q.Set(key, v)
		}
	}
	for key, v := range map[string]bool{"local": p.Local, "recursive": p.Recursive, "hidden": p.Hidden,
		"wrap-with-directory": p.Wrap, "shard": p.Shard, "progress": p.Progress, "nocopy": p.NoCopy, "no-pin": p.NoPin} {
		if v {
			q.Set(key, "true")
		}
	}
	q.Set("raw-leaves", strconv.FormatBool(p.RawLeaves))
	if p.CidVersion != 0 { // 0 is the default, but of a hash that needs 1
		q.Set("cid-version", strconv.Itoa(p.CidVersion))
	}
	q.Set("stream-channels", "true")
	if p.Size > 0 {
		q.Set("size", strconv.FormatUint(p.Size, 10))
	}
	return q
}
