package web

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
)

// listen binds all addresses or none.
func listen(o Options) ([]net.Listener, error) {
	var all []net.Listener
	for _, a := range o.HTTPListenMultiaddress {
		l, err := listenOn(a)
		if err != nil {
			errs := []error{err}
			for _, l := range all {
				errs = append(errs, l.Close())
			}
			return nil, errors.Join(errs...)
		}
		all = append(all, l)
	}
	return all, nil
}

// dialArgs gives what net.Listen takes for addr, of TCP or a Unix socket.
func dialArgs(addr string) (network, host string, err error) {
	m, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return "", "", api.Invalid.Errorf("http_listen_multiaddress: %q: %w", addr, err)
	}
	if network, host, err = manet.DialArgs(m); err != nil {
		return "", "", api.Invalid.Errorf("http_listen_multiaddress: %q: %w", addr, err)
	}
	switch network {
	case "unix":
		if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(host) > most {
			return "", "", api.Invalid.Errorf("http_listen_multiaddress: %q: the path of a Unix socket has at most %d bytes here, not %d", addr, most, len(host))
		}
		return network, host, nil
	case "tcp", "tcp4", "tcp6":
		return network, host, nil
	default:
		return "", "", api.Invalid.Errorf("http_listen_multiaddress: %q: want tcp or unix", addr)
	}
}

func listenOn(addr string) (net.Listener, error) {
	network, host, err := dialArgs(addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen(network, host)
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) && abandoned(host) {
		if err = os.Remove(host); err == nil {
			l, err = net.Listen(network, host)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// abandoned tells whether the file is a socket on which nobody listens: one that a
// killed process left.
func abandoned(file string) bool {
	info, err := os.Lstat(file)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", file, time.Second)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
