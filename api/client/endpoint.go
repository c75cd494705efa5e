package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
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
	host host.Host // of HTTP over libp2p, else nil
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
	base, h, err := baseURL(addr, o.Secret, tr)
	if err != nil {
		return endpoint{}, err
	}
	if o.TLS != nil && h == nil {
		_, rest, _ := strings.Cut(base, "://")
		base = "https://" + rest
	}
	return endpoint{base: base, host: h, http: &http.Client{
		Transport: tr,
		Timeout:   o.Timeout,
		// A redirect would turn a POST into something else: the paths here need none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// baseURL turns addr into a URL. For a Unix socket it makes tr dial that; for a peer of
// libp2p, too, from the host that it returns.
func baseURL(addr string, secret []byte, tr *http.Transport) (base string, h host.Host, err error) {
	if strings.HasPrefix(addr, "/") {
		m, err := multiaddr.NewMultiaddr(addr)
		if err != nil {
			return "", nil, api.Invalid.Errorf("address %q: %w", addr, err)
		}
		if _, err := m.ValueForProtocol(multiaddr.P_P2P); err == nil {
			return overLibp2p(m, secret, tr)
		}
		base, err = multiaddrURL(m, tr)
		return base, nil, err
	}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		path = "/" + strings.TrimLeft(path, "/")
		if path == "/" {
			return "", nil, api.Invalid.Errorf("address %q: want unix:/path/to/socket", addr)
		}
		return overUnix(path, tr), nil, nil
	}
	base, err = plainURL(addr)
	return base, nil, err
}

// overUnix makes tr dial the socket at path.
func overUnix(path string, tr *http.Transport) (base string) {
	dial := tr.DialContext
	tr.Proxy = nil
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", path) }
	return "http://unix"
}

// plainURL checks a URL, or makes one of host and port.
func plainURL(addr string) (string, error) {
	switch {
	case strings.Contains(addr, "://"):
		u, err := url.Parse(addr)
		if err != nil {
			return "", api.Invalid.Errorf("address %q: %w", addr, err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", api.Invalid.Errorf("address %q: want http://host:port, https://host:port or unix:/path", addr)
		}
		if u.User != nil {
			return "", api.Invalid.Errorf("address %q: it has credentials in it: give them apart from it (cluster-ctl: --basic-auth or CLUSTER_CREDENTIALS)", u.Redacted())
		}
		if u.RawQuery != "" || u.Fragment != "" {
			return "", api.Invalid.Errorf("address %q: want nothing after the path", addr)
		}
		return strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
	default:
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return "", api.Invalid.Errorf("address %q: want a URL, a multiaddr or host:port: %w", addr, err)
		}
		return "http://" + addr, nil
	}
}

func multiaddrURL(m multiaddr.Multiaddr, tr *http.Transport) (string, error) {
	scheme := "http"
	for _, c := range m {
		switch c.Protocol().Code {
		case multiaddr.P_HTTPS, multiaddr.P_TLS:
			scheme = "https"
		}
	}
	network, host, err := manet.DialArgs(m)
	if err != nil {
		return "", api.Invalid.Errorf("address %q: %w", m, err)
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		return scheme + "://" + host, nil
	case "unix":
		return overUnix(host, tr), nil
	default:
		return "", api.Invalid.Errorf("address %q: want tcp or unix", m)
	}
}
