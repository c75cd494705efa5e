package rpc

import (
	"errors"
	"io/fs"
	"net/url"

	"connectrpc.com/connect"

	"github.com/pinfold-cluster/pinfold/api"
)

// codes are the kinds of errors on the wire. What connect itself finds wrong with a
// request, it answers with the code of the right kind here: nothing else may have
// ResourceExhausted (a message is too large), Unimplemented (no such call) or
// InvalidArgument (it cannot be decoded).
var codes = map[api.Kind]connect.Code{
	api.Invalid:     connect.CodeInvalidArgument,
	api.NotFound:    connect.CodeNotFound,
	api.Conflict:    connect.CodeFailedPrecondition,
	api.Denied:      connect.CodePermissionDenied,
	api.TooLarge:    connect.CodeResourceExhausted,
	api.Full:        connect.CodeOutOfRange,
	api.Unavailable: connect.CodeUnavailable,
	api.Unknown:     connect.CodeUnknown,
	api.Unsupported: connect.CodeUnimplemented,
	api.Internal:    connect.CodeInternal,
	api.Lagging:     connect.CodeAlreadyExists,
}

// kinds is codes the other way round. A code that is not in it (a deadline, say) leaves
// the outcome unknown.
var kinds = func() map[connect.Code]api.Kind {
	m := make(map[connect.Code]api.Kind, len(codes))
	for kind, code := range codes {
		m[code] = kind
	}
	return m
}()

// toWire gives a handler's error its code. That a context ended says nothing of what
// had been done by then.
func toWire(err error) *connect.Error {
	kind := api.KindOf(err)
	if kind == api.Unavailable && !errors.Is(err, api.Unavailable) {
		kind = api.Unknown
	}
	code, ok := codes[kind]
	if !ok {
		code = connect.CodeInternal
	}
	// Only the text crosses: a wrapped error of an own call to another peer must not
	// pass for this one's.
	return connect.NewError(code, errors.New(err.Error()))
}

// fromWire gives the error of a call its kind. Where the other peer answered, kind and
// text are its own. Where it did not, nothing happened unless the request was sent.
func fromWire(to api.PeerID, path string, err error, sent bool) error {
	var answered *connect.Error
	if errors.As(err, &answered) && connect.IsWireError(err) {
		kind, ok := kinds[answered.Code()]
		if !ok {
			kind = api.Unknown
		}
		return kind.Errorf("%s", answered.Message())
	}
	kind := api.Unavailable
	switch {
	case sent:
		kind = api.Unknown
	case errors.Is(err, errors.ErrUnsupported):
		kind = api.Unsupported
	}
	return kind.Errorf("call %s of peer %s: %w", path, to, cause(err))
}

// cause is err without what connect and net/http put around it.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	var c *connect.Error
	if errors.As(err, &c) && c.Unwrap() != nil {
		return c.Unwrap()
	}
	return err
}

// refused is what a caller is told that Check did not find to be a member.
func refused(path string, err error) error {
	kind := api.Unavailable // it could not be asked
	if errors.Is(err, fs.ErrPermission) {
		kind = api.Denied
	}
	return kind.Errorf("call %s: for members only: %w", path, err)
}
