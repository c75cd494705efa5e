package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxNames bounds how many names lead from one to the next.
const maxNames = 8

// ResolveMutable implements gateway.IPFSBackend.
func (b *backend) ResolveMutable(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, time.Time, error) {
	ttl, start := time.Duration(-1), p
	for range maxNames {
		if !p.Mutable() {
			fixed, err := path.NewImmutablePath(p)
			return fixed, max(0, ttl), time.Time{}, err
		}
		next, t, err := b.follow(ctx, p)
		if err != nil {
			return path.ImmutablePath{}, 0, time.Time{}, err
		}
		if p = next; ttl < 0 || t < ttl {
			ttl = t
		}
	}
	return path.ImmutablePath{}, 0, time.Time{}, status(http.StatusBadGateway, "%s leads through more than %d names", start, maxNames)
}

// follow returns what the name that p begins with stands for, with the rest of p behind
// it, and for how long that may be kept.
func (b *backend) follow(ctx context.Context, p path.Path) (path.Path, time.Duration, error) {
	segments := p.Segments()
	name, err := parseName(segments[1])
	if err != nil {
		return nil, 0, err
	}
	_, rec, err := b.record(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	value, err := rec.Value()
	if err != nil {
		return nil, 0, status(http.StatusBadGateway, "the record of %s holds no path: %w", name, err)
	}
	next, err := path.Join(value, segments[2:]...)
	if err != nil {
		return nil, 0, status(http.StatusBadGateway, "the record of %s: %w", name, err)
	}
	return next, lifetime(rec), nil
}

// lifetime is for how long a cache may keep what a record says: its TTL, as far as it is
// valid then.
func lifetime(rec *ipns.Record) time.Duration {
	ttl, err := rec.TTL()
	if err != nil {
		return 0
	}
	if end, err := rec.Validity(); err == nil {
		ttl = min(ttl, time.Until(end))
	}
	return max(0, ttl)
}

// record returns the record of a name, which is valid, and its bytes.
func (b *backend) record(ctx context.Context, name ipns.Name) ([]byte, *ipns.Record, error) {
	raw, err := b.names.GetName(name.Peer())
	switch {
	case errors.Is(err, api.NotFound):
		return nil, nil, status(http.StatusNotFound, "no record of the IPNS name %s is known here", name)
	case api.KindOf(err) == api.Internal:
		return nil, nil, api.Internal.Errorf("%w", err)
	case err != nil:
		return nil, nil, withStatus(ctx, err)
	}
	rec, err := ipns.UnmarshalRecord(raw)
	if err == nil {
		err = ipns.ValidateWithName(rec, name)
	}
	switch {
	case errors.Is(err, ipns.ErrExpiredRecord):
		return nil, nil, status(http.StatusNotFound, "the last record of %s has expired", name)
	case err != nil:
		return nil, nil, status(http.StatusBadGateway, "the record of %s is not valid: %w", name, err)
	}
	return raw, rec, nil
}

// parseName reads the first segment below /ipns.
func parseName(s string) (ipns.Name, error) {
	name, err := ipns.NameFromString(s)
	if err == nil {
		return name, nil
	}
	if strings.Contains(s, ".") {
		return ipns.Name{}, status(http.StatusNotFound, "%s: names of DNS (DNSLink) are not looked up by this gateway", s)
	}
	return ipns.Name{}, status(http.StatusBadRequest, "%q is not an IPNS name: %w", s, err)
}

// GetIPNSRecord implements gateway.IPFSBackend.
func (b *backend) GetIPNSRecord(ctx context.Context, c cid.Cid) ([]byte, error) {
	name, err := ipns.NameFromCid(c)
	if err != nil {
		return nil, status(http.StatusBadRequest, "%s is not an IPNS name: %w", c, err)
	}
	raw, _, err := b.record(ctx, name)
	return raw, err
}

// GetDNSLinkRecord implements gateway.IPFSBackend: DNS is not asked.
func (b *backend) GetDNSLinkRecord(context.Context, string) (path.Path, error) {
	return nil, status(http.StatusNotFound, "names of DNS are not looked up")
}

func status(code int, format string, args ...any) error {
	return gateway.NewErrorStatusCode(fmt.Errorf(format, args...), code)
}

// noNames stands where boxo would otherwise put a resolver of its own, which asks DNS.
type noNames struct{}

func (noNames) Resolve(context.Context, path.Path, ...namesys.ResolveOption) (namesys.Result, error) {
	return namesys.Result{}, namesys.ErrNoNamesys
}

func (noNames) ResolveAsync(context.Context, path.Path, ...namesys.ResolveOption) <-chan namesys.AsyncResult {
	c := make(chan namesys.AsyncResult, 1)
	c <- namesys.AsyncResult{Err: namesys.ErrNoNamesys}
	close(c)
	return c
}

func (noNames) Publish(context.Context, crypto.PrivKey, path.Path, ...namesys.PublishOption) error {
	return namesys.ErrNoNamesys
}
