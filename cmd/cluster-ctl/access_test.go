package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// An address is taken whole or refused: credentials in it would else be dropped.
func TestHost_SaysTooMuch(t *testing.T) {
	s := newSession(t)
	for host, want := range map[string]string{
		"http://ann:very-secret@127.0.0.1:1":  "--basic-auth",
		"https://ann@127.0.0.1:1":             "--basic-auth",
		"http://127.0.0.1:1/?user=ann":        "want nothing after the path",
		"http://127.0.0.1:1/#a":               "want nothing after the path",
		"http://h:1,http://ann:x@127.0.0.1:1": "--basic-auth",
	} {
		if out := s.run(exitUsage, "--host "+host+" id", want); strings.Contains(out, "very-secret") {
			t.Errorf("%s: the password is printed: %s", host, out)
		}
	}
}

// Who finds another peer at the address than it names is told that, with a secret or
// without, and not that the secret be wrong.
func TestHost_AnotherPeer(t *testing.T) {
	s := newSession(t)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	another, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	for with, o := range map[string][]libp2p.Option{
		"": nil,
		" --secret " + hex.EncodeToString(secret): {libp2p.PrivateNetwork(pnet.PSK(secret))},
	} {
		h, err := libp2p.New(append(o, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport))...)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		host := "--host " + h.Addrs()[0].String() + "/p2p/" + another.ID().String()
		if out := s.run(exitUsage, host+with+" id", "another peer is at that address"); strings.Contains(out, "--secret must be") || !strings.Contains(out, h.ID().String()) {
			t.Errorf("%s: %s", with, out)
		}
	}
}

// Who reaches a private network without its secret, or with another, is told of --secret.
func TestHost_PrivateNetwork(t *testing.T) {
	s := newSession(t)
	secret, other := make([]byte, 32), make([]byte, 32)
	_, _ = rand.Read(secret)
	_, _ = rand.Read(other)
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport), libp2p.PrivateNetwork(pnet.PSK(secret)))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	host := "--host " + h.Addrs()[0].String() + "/p2p/" + h.ID().String()
	for _, with := range []string{"", " --secret " + hex.EncodeToString(other)} {
		var out, errw bytes.Buffer
		code := run(s.t.Context(), strings.Fields(host+with+" id"), strings.NewReader(""), &out, &errw)
		// Noise that happens to look like the start of a long message ends in a time-out.
		if code != exitUsage && code != exitDeadline || !strings.Contains(errw.String(), "--secret must be that") {
			t.Errorf("%s: exit code %d: %s", with, code, errw.String())
		}
	}
}
