package kubo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxAnswer bounds an answer that is read whole, in bytes.
const maxAnswer = 8 << 20

// upload is the body of a request, and its type.
type upload struct {
	io.Reader
	contentType string
}

// answer is the body of a response. An error that Kubo met after it had begun to
// answer is in a trailer, which fault reads once the body is at its end.
type answer struct {
	io.ReadCloser
	res *http.Response
}

func (a answer) fault() error {
	if msg := a.res.Trailer.Get("X-Stream-Error"); msg != "" {
		return remoteError(msg)
	}
	return nil
}

// post makes a request. The error has the kind and cause of what went wrong:
// Unavailable, with api.CauseBackendDown, where Kubo does not answer.
func (n *Node) post(ctx context.Context, path string, args url.Values, up *upload) (answer, error) {
	var body io.Reader = http.NoBody
	if up != nil {
		body = up
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.base+path+"?"+args.Encode(), body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	if up != nil {
		req.Header.Set("Content-Type", up.contentType)
	}
	res, err := n.http.Do(req)
	if err != nil {
		return answer{}, down(path, err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return answer{}, fmt.Errorf("%s: %w", path, refusal(res))
	}
	return answer{res.Body, res}, nil
}

func down(path string, err error) error {
	return api.CauseBackendDown.Wrap(api.Unavailable.Errorf("%s: the IPFS node does not answer: %w", path, err))
}

// refusal reads an error response: {"Message", "Code", "Type"}, or whatever a proxy
// before Kubo says.
func refusal(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return down("error of status "+res.Status, err)
	}
	var e struct{ Message string }
	if json.Unmarshal(text, &e) != nil || e.Message == "" {
		return api.CauseBackendDown.Wrap(api.Unavailable.Errorf("the IPFS node answers %s: %s", res.Status, strings.TrimSpace(string(text))))
	}
	return remoteError(e.Message)
}

// causes tell Kubo's errors apart. The RPC gives them no code, only this text.
var causes = []struct {
	text  string
	kind  api.Kind
	cause api.Cause
}{
	{"no space left on device", api.Full, api.CauseDiskFull},
	{"disk quota exceeded", api.Full, api.CauseDiskFull},
	{"could not find", api.NotFound, api.CauseNoProvider},
	{"could not resolve name", api.NotFound, api.CauseNoProvider},
	{"not found", api.NotFound, api.CauseNoProvider},
	{"no link named", api.NotFound, api.CauseNoProvider},
	{"does not exist", api.NotFound, api.CauseNoProvider},
	{"not pinned", api.NotFound, api.CauseOther},
	{"produced block is over", api.TooLarge, api.CauseTooBig},
	{"over 2MiB", api.TooLarge, api.CauseTooBig},
	{"failed to decode", api.Invalid, api.CauseBadBlock},
	{"unmarshal failed", api.Invalid, api.CauseBadBlock},
	{"protobuf", api.Invalid, api.CauseBadBlock},
	{"unrecognized object type", api.Invalid, api.CauseBadBlock},
	{"hash did not match", api.Invalid, api.CauseBadBlock},
	{"context deadline exceeded", api.Unavailable, api.CauseNoProvider},
	{"context canceled", api.Unavailable, api.CauseNoProvider},
}

func remoteError(msg string) error {
	for _, c := range causes {
		if strings.Contains(msg, c.text) {
			return c.cause.Wrap(c.kind.Errorf("the IPFS node says: %s", msg))
		}
	}
	return api.CauseOther.Wrap(api.Internal.Errorf("the IPFS node says: %s", msg))
}

// call makes a request whose answer is one JSON value; a nil out ignores it.
func (n *Node) call(ctx context.Context, out any, path string, args url.Values) error {
	return n.send(ctx, out, path, args, nil)
}

func (n *Node) send(ctx context.Context, out any, path string, args url.Values, up *upload) error {
	body, err := n.post(ctx, path, args, up)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return down(path, err)
	}
	if err := body.fault(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return api.Internal.Errorf("%s: answer not understood: %w", path, err)
	}
	return nil
}

// stream makes a request whose answer is one JSON value after another. The last yield
// has the error of its end, if it did not end well.
func stream[T any](ctx context.Context, n *Node, path string, args url.Values, up *upload) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		ctx, cancel := context.WithCancel(ctx) // so that leaving early ends the request
		defer cancel()
		body, err := n.post(ctx, path, args, up)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		dec := json.NewDecoder(body)
		for {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				if err := body.fault(); err != nil {
					yield(none, fmt.Errorf("%s: %w", path, err))
				}
				return
			}
			if err != nil {
				yield(none, down(path, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
