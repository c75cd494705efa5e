package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p/core/sec"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

// client is the client of the peer that flags, environment and context lead to.
func (c *ctl) client() (*client.Client, error) {
	if c.clientOnce != nil {
		return c.clientOnce, nil
	}
	a, err := c.effective()
	if err != nil {
		return nil, err
	}
	o, err := a.options()
	if err != nil {
		return nil, err
	}
	o.Timeout = c.limit()
	if a.HTTPS && strings.Contains(a.Host, "/p2p/") {
		c.warn("--https is without effect on addresses with /p2p: libp2p encrypts what it carries")
	}
	if c.debug {
		o.Log = slog.New(slog.NewTextHandler(c.errw, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cl, err := client.New(a.Host, o)
	if err != nil {
		return nil, fmt.Errorf("reading --host: %w", err)
	}
	c.clientOnce = cl
	return cl, nil
}

// effective is what the flags say, else the environment, else the context. A context's
// credentials go to its own host alone: with --host there is none.
func (c *ctl) effective() (access, error) {
	a := c.access.over(access{BasicAuth: os.Getenv("CLUSTER_CREDENTIALS"), Token: os.Getenv("CLUSTER_TOKEN"), Secret: os.Getenv("CLUSTER_SECRET")})
	if c.Host != "" {
		if c.context != "" {
			return a, errors.New("reading --context: --host says already where to go; give one of them")
		}
		return a, nil
	}
	all, err := loadContexts(c.warn)
	if err != nil {
		return a, err
	}
	name := cmp.Or(c.context, os.Getenv("CLUSTER_CTL_CONTEXT"), all.Current)
	if name == "" {
		return a, nil
	}
	chosen, err := all.get(name)
	if err != nil {
		return a, fmt.Errorf("reading --context: %w", err)
	}
	return a.over(chosen), nil
}

// options checks what a says.
func (a access) options() (client.Options, error) {
	var o client.Options
	if a.Secret != "" {
		secret, err := hex.DecodeString(a.Secret)
		if err != nil || len(secret) != 32 {
			return o, errors.New("reading --secret: want 64 hexadecimal digits")
		}
		o.Secret = secret
	}
	if a.Token != "" && a.BasicAuth != "" {
		return o, errors.New("reading --token: --basic-auth says already who asks; give one of them")
	}
	user, password, _ := strings.Cut(a.BasicAuth, ":")
	if a.BasicAuth != "" && user == "" {
		return o, errors.New("reading --basic-auth: want USER:PASSWORD")
	}
	o.Username, o.Password, o.Token = user, password, a.Token
	guarded := (a.BasicAuth != "" || a.Token != "") && !a.ForceHTTP && !onSocket(a.Host)
	special := (a.NoCheck || a.CACert != "") && strings.Contains(a.Host, "https")
	if !a.HTTPS && !guarded && !special {
		return o, nil // an address may say https, which needs nothing here
	}
	o.TLS = &tls.Config{InsecureSkipVerify: a.NoCheck, MinVersion: tls.VersionTLS12}
	if a.CACert != "" {
		text, err := os.ReadFile(a.CACert)
		if err != nil {
			return o, fmt.Errorf("reading --ca-cert: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(text) {
			return o, fmt.Errorf("reading --ca-cert: %s holds no certificate in PEM", a.CACert)
		}
	}
	return o, nil
}

// onSocket tells whether nothing that goes to host crosses a network.
func onSocket(host string) bool {
	for one := range strings.SplitSeq(host, ",") {
		if one = strings.TrimSpace(one); !strings.HasPrefix(one, "/unix/") && !strings.HasPrefix(one, "unix:") {
			return false
		}
	}
	return true
}

// explain adds to an error of the way to the peer what to do about it.
func (c *ctl) explain(err error) error {
	var dial *net.OpError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: the peer speaks http there; credentials imply https: --force-http sends them in the clear, where nobody else listens", err)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%w: --ca-cert names who vouches for it, --no-check-certificate takes any", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: no peer listens there; start it, or name another with --host or --context", err)
	case errors.As(err, new(sec.ErrPeerIDMismatch)):
		return fmt.Errorf("%w: another peer is at that address, which its key proves: look at what follows /p2p/ in --host", err)
	case errors.As(err, &dial) && dial.Net == "libp2p":
		return fmt.Errorf("%w: where the peer's network has a secret, --secret must be that; where it has none, there must be no --secret", err)
	}
	return err
}

// hint is what to do about a refusal, "" where that says it.
func (c *ctl) hint(refused *api.Error) string {
	switch {
	case refused.Code == http.StatusUnauthorized:
		return "--basic-auth USER:PASSWORD, --token TOKEN or a context says who asks"
	case refused.Code == http.StatusBadRequest && strings.HasPrefix(refused.Message, "Client sent an HTTP request to an HTTPS server"): // of net/http, in text alone
		return "the peer speaks https there: --https, or an address that begins with https://"
	}
	return ""
}
