package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
)

// DefaultAddress is where a peer's REST API listens unless told otherwise.
const DefaultAddress = "/ip4/127.0.0.1/tcp/9094"

// endpoint is one place where a peer may answer.
type endpoint struct {
	base string // scheme and host, without a slash at the end
	http *http.Client
}

func parseEndpoint(addr string, o Options) (endpoint, error) {
	tr := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     idleTimeout,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     o.TLS,
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
	}
	base, err := baseURL(addr, tr)
	if err != nil {
		return endpoint{}, err
	}
	if o.TLS != nil {
		_, rest, _ := strings.Cut(base, "://")
		base = "https://" + rest
	}
	return endpoint{base: base, http: &http.Client{
		Transport: tr,
		Timeout:   o.Timeout,
		// A redirect would turn a POST into something else: the paths here need none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// baseURL turns addr into a URL; for a Unix socket it makes tr dial that.
func baseURL(addr string, tr *http.Transport) (string, error) {
	switch {
	case strings.Contains(addr, "://"):
		u, err := url.Parse(addr)
		if err != nil {
			return "", api.Invalid.Errorf("address %q: %w", addr, err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", api.Invalid.Errorf("address %q: want http://host:port or https://host:port", addr)
		}
		return strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
	case strings.HasPrefix(addr, "/"):
		return multiaddrURL(addr, tr)
	default:
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return "", api.Invalid.Errorf("address %q: want a URL, a multiaddr or host:port: %w", addr, err)
		}
		return "http://" + addr, nil
	}
}

func multiaddrURL(addr string, tr *http.Transport) (string, error) {
	m, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return "", api.Invalid.Errorf("address %q: %w", addr, err)
	}
	scheme := "http"
	for _, c := range m {
		switch c.Protocol().Code {
		case multiaddr.P_P2P:
			return "", api.Unsupported.Errorf("address %q: HTTP over libp2p is not supported", addr)
		case multiaddr.P_HTTPS, multiaddr.P_TLS:
			scheme = "https"
		}
	}
	network, host, err := manet.DialArgs(m)
	if err != nil {
		return "", api.Invalid.Errorf("address %q: %w", addr, err)
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		return scheme + "://" + host, nil
	case "unix":
		dial := tr.DialContext
		tr.Proxy = nil
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", host) }
		return scheme + "://unix", nil
	default:
		return "", api.Invalid.Errorf("address %q: want tcp or unix", addr)
	}
}
