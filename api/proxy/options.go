package proxy

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// DefaultAddress is where the proxy listens where its options say nothing.
const DefaultAddress = "/ip4/127.0.0.1/tcp/9095"

// Off as Options.ListenMultiaddress says that there is to be no proxy.
const Off = "off"

// Options are those of the IPFS proxy. The zero value of a field means its default.
type Options struct {
	// ListenMultiaddress lists where to listen for clients of an IPFS node's RPC API:
	// TCP addresses and Unix sockets; "off" is nowhere; /ip4/127.0.0.1/tcp/9095. There is
	// no authentication: who reaches it may change the pinset.
	ListenMultiaddress []string `json:"listen_multiaddress"`
	// NodeMultiaddress is the Kubo daemon that takes what is not the cluster's business,
	// where the node is one; ipfs_connector.ipfshttp.node_multiaddress.
	NodeMultiaddress string `json:"node_multiaddress"`
	// NodeHTTPS makes the calls to that daemon HTTPS.
	NodeHTTPS bool `json:"node_https"`
	// LogFile gets a line a request, in Apache's common format; "" is no file.
	LogFile string `json:"log_file"`
	// ReadTimeout bounds reading a whole request; 0 is no limit. A body of which nothing
	// arrives for two minutes is given up in any case.
	ReadTimeout time.Duration `json:"read_timeout"`
	// ReadHeaderTimeout bounds reading a request's head; 5s.
	ReadHeaderTimeout time.Duration `json:"read_header_timeout"`
	// WriteTimeout bounds answering; 0 is no limit. A client that takes nothing of an
	// answer for a minute is given up in any case.
	WriteTimeout time.Duration `json:"write_timeout"`
	// IdleTimeout closes a connection without requests; 1m.
	IdleTimeout time.Duration `json:"idle_timeout"`
	// MaxHeaderBytes bounds a request's line and headers; 4096, which is also the least.
	// Another 4096 bytes are granted.
	MaxHeaderBytes int `json:"max_header_bytes"`
	// CORSAllowedOrigins are the web origins whose pages may send commands, beside those of
	// this address and the IPFS Companion, such as https://webui.example.org; ["*"] is any,
	// and then every page that somebody on this network opens may change the pinset. With
	// a Kubo daemon as the node, those of its API.HTTPHeaders are let in too.
	CORSAllowedOrigins []string `json:"cors_allowed_origins"`
	// ExtractHeadersExtra are headers of the daemon's answers that the cluster's own get
	// too, beside those that say what pages may read.
	ExtractHeadersExtra []string `json:"extract_headers_extra"`
	// ExtractHeadersPath is the command of the daemon whose answer has these headers;
	// /api/v0/version.
	ExtractHeadersPath string `json:"extract_headers_path"`
	// ExtractHeadersTTL is for how long they are not asked for again; 5m.
	ExtractHeadersTTL time.Duration `json:"extract_headers_ttl"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if len(o.ListenMultiaddress) == 0 {
		o.ListenMultiaddress = []string{DefaultAddress}
	}
	if o.ReadHeaderTimeout == 0 {
		o.ReadHeaderTimeout = 5 * time.Second
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = time.Minute
	}
	if o.MaxHeaderBytes == 0 {
		o.MaxHeaderBytes = 4096
	}
	if o.ExtractHeadersPath == "" {
		o.ExtractHeadersPath = "/api/v0/version"
	}
	if o.ExtractHeadersTTL == 0 {
		o.ExtractHeadersTTL = 5 * time.Minute
	}
	return o
}

// Off tells whether there is to be no proxy.
func (o Options) Off() bool { return len(o.ListenMultiaddress) == 1 && o.ListenMultiaddress[0] == Off }

// Door gives the options of the HTTP door.
func (o Options) Door() web.Options {
	return web.Options{HTTPListenMultiaddress: o.ListenMultiaddress, ReadTimeout: o.ReadTimeout, ReadHeaderTimeout: o.ReadHeaderTimeout,
		WriteTimeout: o.WriteTimeout, IdleTimeout: o.IdleTimeout, MaxHeaderBytes: o.MaxHeaderBytes, HTTPLogFile: o.LogFile}
}

// Validate tells everything that is wrong with o, each as an Invalid error that names
// the key first.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	if !o.Off() {
		for _, a := range o.ListenMultiaddress {
			errs = append(errs, checkAddress("listen_multiaddress", a))
		}
	}
	for _, origin := range o.CORSAllowedOrigins {
		if err := checkOrigin(origin); err != nil {
			errs = append(errs, api.Invalid.Errorf("cors_allowed_origins: %w", err))
		}
	}
	if o.NodeMultiaddress != "" {
		errs = append(errs, checkAddress("node_multiaddress", o.NodeMultiaddress))
	}
	if o.ExtractHeadersPath[0] != '/' {
		errs = append(errs, api.Invalid.Errorf("extract_headers_path: %q does not begin with a slash", o.ExtractHeadersPath))
	}
	return errors.Join(errs...)
}

func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if s != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != s) {
		return fmt.Errorf("%q is no origin such as https://webui.example.org", s)
	}
	return nil
}

func checkAddress(key, addr string) error {
	if _, _, err := dialArgs(addr); err != nil {
		return api.Invalid.Errorf("%s: %w", key, err)
	}
	return nil
}

// dialArgs gives what net.Dial takes for addr, of TCP or a Unix socket.
func dialArgs(addr string) (network, host string, err error) {
	m, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return "", "", api.Invalid.Errorf("%q is no address such as %s: %w", addr, DefaultAddress, err)
	}
	if network, host, err = manet.DialArgs(m); err != nil {
		return "", "", api.Invalid.Errorf("%q: %w", addr, err)
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
		return network, host, nil
	}
	return "", "", api.Invalid.Errorf("%q: want tcp or unix", addr)
}
