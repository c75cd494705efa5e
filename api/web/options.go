package web

import (
	"errors"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// DefaultAddress is that of the REST API, where a door's options name none.
const DefaultAddress = "/ip4/127.0.0.1/tcp/9094"

// Options are those of one HTTP door. The zero value of a field means its default.
type Options struct {
	// HTTPListenMultiaddress lists where to listen: TCP addresses ("/ip4/127.0.0.1/tcp/9094")
	// and Unix sockets ("/unix/path").
	HTTPListenMultiaddress []string `json:"http_listen_multiaddress"`
	// Libp2pListenMultiaddress lists where a libp2p host of its own takes HTTP over libp2p,
	// of the identity ID and PrivateKey (the base64 of a libp2p key); all three or none.
	// Without them the REST API takes it on the cluster host, from who knows the secret.
	Libp2pListenMultiaddress []string `json:"libp2p_listen_multiaddress"`
	// ID is the peer ID of that host.
	ID string `json:"id"`
	// PrivateKey is the key of that host.
	PrivateKey string `json:"private_key"`
	// SSLCertFile and SSLKeyFile are PEM files; both or neither. With them every address is HTTPS.
	SSLCertFile string `json:"ssl_cert_file"`
	SSLKeyFile  string `json:"ssl_key_file"`
	// ReadTimeout bounds reading a whole request; 0 is no limit. A body of which nothing
	// arrives for two minutes is given up in any case.
	ReadTimeout time.Duration `json:"read_timeout"`
	// ReadHeaderTimeout bounds reading a request's head; 5s.
	ReadHeaderTimeout time.Duration `json:"read_header_timeout"`
	// WriteTimeout bounds answering; 0 is no limit. A client that takes nothing of a
	// stream for a minute is given up in any case.
	WriteTimeout time.Duration `json:"write_timeout"`
	// IdleTimeout closes a connection without requests; 2m.
	IdleTimeout time.Duration `json:"idle_timeout"`
	// MaxHeaderBytes bounds a request's line and headers; 4096, which is also the least.
	// Another 4096 bytes are granted.
	MaxHeaderBytes int `json:"max_header_bytes"`
	// BasicAuthCredentials are the passwords of the users let in; none lets everybody in.
	BasicAuthCredentials map[string]string `json:"basic_auth_credentials"`
	// BasicAuthScopes say what some of these users may do: "read", "write" (and change the
	// pinset) or "admin" (everything, which is what the others may). Their tokens may do no more.
	BasicAuthScopes map[string]string `json:"basic_auth_scopes"`
	// Tokens are those that their users may come with instead.
	Tokens Tokens `json:"-"`
	// HTTPLogFile gets a line a request, in Apache's common format; "" is no file.
	HTTPLogFile string `json:"http_log_file"`
	// Headers are added to every answer.
	Headers map[string][]string `json:"headers"`
	// CORSAllowedOrigins are the web origins whose pages may read answers; ["*"] is any.
	CORSAllowedOrigins []string `json:"cors_allowed_origins"`
	// CORSAllowedMethods are what such pages may do; ["GET"]. What they may not do is
	// refused even where the browser would not ask first.
	CORSAllowedMethods []string `json:"cors_allowed_methods"`
	// CORSAllowedHeaders are request headers beyond Origin, Accept, Content-Type and
	// X-Requested-With that such pages may send.
	CORSAllowedHeaders []string `json:"cors_allowed_headers"`
	// CORSExposedHeaders are answer headers that such pages may read.
	CORSExposedHeaders []string `json:"cors_exposed_headers"`
	// CORSAllowCredentials lets such pages send credentials; true.
	CORSAllowCredentials *bool `json:"cors_allow_credentials"`
	// CORSMaxAge is how long a browser may remember these rules; 0 leaves it to the browser.
	CORSMaxAge time.Duration `json:"cors_max_age"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if len(o.HTTPListenMultiaddress) == 0 {
		o.HTTPListenMultiaddress = []string{DefaultAddress}
	}
	if o.ReadHeaderTimeout == 0 {
		o.ReadHeaderTimeout = 5 * time.Second
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 2 * time.Minute
	}
	if o.MaxHeaderBytes == 0 {
		o.MaxHeaderBytes = 4096
	}
	if o.CORSAllowedOrigins == nil {
		o.CORSAllowedOrigins = []string{"*"}
	}
	if o.CORSAllowedMethods == nil {
		o.CORSAllowedMethods = []string{"GET"}
	}
	if o.CORSExposedHeaders == nil {
		o.CORSExposedHeaders = []string{"Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"}
	}
	if o.CORSAllowCredentials == nil {
		yes := true
		o.CORSAllowCredentials = &yes
	}
	return o
}

// Validate tells everything that is wrong with o, each as an Invalid error that names
// the key first.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, api.Invalid.Errorf(format, args...)) }
	for _, a := range o.HTTPListenMultiaddress {
		if _, _, err := dialArgs(a); err != nil {
			errs = append(errs, err)
		}
	}
	given := map[string]bool{"libp2p_listen_multiaddress": len(o.Libp2pListenMultiaddress) > 0, "id": o.ID != "", "private_key": o.PrivateKey != ""}
	for _, key := range []string{"libp2p_listen_multiaddress", "id", "private_key"} {
		if given[key] && (!given["libp2p_listen_multiaddress"] || !given["id"] || !given["private_key"]) {
			bad("%s: give libp2p_listen_multiaddress, id and private_key, or none of them", key)
			break
		}
	}
	for _, a := range o.Libp2pListenMultiaddress {
		m, err := multiaddr.NewMultiaddr(a)
		if err == nil {
			_, err = m.ValueForProtocol(multiaddr.P_TCP)
		}
		if err != nil {
			bad("libp2p_listen_multiaddress: %q: want an address of TCP: %w", a, err)
		}
	}
	if o.SSLCertFile != "" && o.SSLKeyFile == "" {
		bad("ssl_cert_file: is without ssl_key_file; give both or neither")
	}
	if o.SSLKeyFile != "" && o.SSLCertFile == "" {
		bad("ssl_key_file: is without ssl_cert_file; give both or neither")
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"read_timeout", o.ReadTimeout}, {"read_header_timeout", o.ReadHeaderTimeout}, {"write_timeout", o.WriteTimeout},
		{"idle_timeout", o.IdleTimeout}, {"cors_max_age", o.CORSMaxAge},
	} {
		if d.value < 0 {
			bad("%s: must not be negative", d.key)
		}
	}
	if o.MaxHeaderBytes < 4096 {
		bad("max_header_bytes: %d is under 4096", o.MaxHeaderBytes)
	}
	if o.BasicAuthCredentials != nil && len(o.BasicAuthCredentials) == 0 {
		bad("basic_auth_credentials: is empty; leave it out to let everybody in")
	}
	for user, password := range o.BasicAuthCredentials {
		if user == "" || password == "" {
			bad("basic_auth_credentials: a user and a password must not be empty")
		}
	}
	for user, scope := range o.BasicAuthScopes {
		if _, known := o.BasicAuthCredentials[user]; !known {
			bad("basic_auth_scopes: %q is no user of basic_auth_credentials", user)
		}
		if _, err := api.ParseScope(scope); err != nil {
			bad("basic_auth_scopes: of %q: %w", user, err)
		}
	}
	return errors.Join(errs...)
}

// Users are those of o, which is valid.
func (o Options) Users() Users {
	u := Users{Passwords: o.BasicAuthCredentials, Scopes: map[string]api.Scope{}}
	for user, name := range o.BasicAuthScopes {
		u.Scopes[user], _ = api.ParseScope(name) // none, should it be no scope
	}
	return u
}
