package gateway

import (
	"errors"
	"fmt"
	"regexp"
)

// Options tune a Gateway; the zero value of a field means its default.
type Options struct {
	// ListenMultiaddress is where the HTTP gateway listens, such as
	// /ip4/127.0.0.1/tcp/8080; "off" is nowhere. With a Kubo daemon as the node there is
	// none: Kubo has its own.
	ListenMultiaddress string `json:"gateway_listen_multiaddress"`
	// Hosts are names under whose subdomains content is served too, as it is under
	// localhost: http://CID.ipfs.HOST. What is asked for below /ipfs there is sent on to
	// its subdomain, so that pages of different content cannot reach into each other.
	Hosts []string `json:"gateway_hosts"`
	// NoFetch serves only what is on this peer's node, and answers 404 for the rest.
	NoFetch bool `json:"gateway_no_fetch"`
	// Requests bounds the requests that the gateway answers at once; 128.
	Requests int `json:"gateway_requests"`
	// Connections bounds the clients connected to the gateway; 4096.
	Connections int `json:"gateway_connections"`
}

// Off as Options.ListenMultiaddress says that there is to be no gateway.
const Off = "off"

// WithDefaults returns o with the defaults for what it leaves out.
func (o Options) WithDefaults() Options {
	if o.ListenMultiaddress == "" {
		o.ListenMultiaddress = "/ip4/127.0.0.1/tcp/8080"
	}
	if o.Requests == 0 {
		o.Requests = 128
	}
	if o.Connections == 0 {
		o.Connections = 4096
	}
	return o
}

// hostname is a name of DNS in lower case that is not an IP address.
var hostname = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?$`)

// CheckHost tells whether s can be one of Options.Hosts.
func CheckHost(s string) error {
	if len(s) > 190 { // with .ipfs. and a CID's 63 in front it is a name of DNS
		return errors.New("is longer than 190 bytes")
	}
	if !hostname.MatchString(s) {
		return fmt.Errorf("%q is not a host name in lower case, such as gateway.example.org", s)
	}
	return nil
}
