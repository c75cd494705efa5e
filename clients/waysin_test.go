//go:build clients

package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// lone is a peer with settings of its own, and the ways to it.
type lone struct {
	api, swarm string // multiaddrs
	socket     string // a file
	id, secret string
}

// newLone starts a peer whose REST API asks for a password.
func newLone(t *testing.T, settings ...string) lone {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(dir, "peer")
	p := lone{api: freeAddress(t), swarm: freeAddress(t), socket: filepath.Join(dir, "api.sock")}
	environ := append([]string{
		"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=" + p.api + ",/unix" + p.socket,
		"CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=" + user + ":" + password,
		"CLUSTER_LISTENMULTIADDRESS=" + p.swarm,
		"CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=" + freeAddress(t),
		"CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS=off",
		"CLUSTER_PINSVCAPI_HTTPLISTENMULTIADDRESS=" + freeAddress(t),
		"CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=off",
	}, settings...)
	service := tool(t, "BIN", "cluster-service")
	if _, err := run(t, time.Minute, environ, service, "-c", home, "init"); err != nil {
		t.Fatal(err)
	}
	start(t, environ, service, "-c", home, "daemon")
	eventually(t, 3*time.Minute, "the peer is up", func() bool {
		c, err := net.Dial("unix", p.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	var identity struct{ ID string }
	var settingsFile struct{ Cluster struct{ Secret string } }
	for file, v := range map[string]any{"identity.json": &identity, "service.json": &settingsFile} {
		text, err := os.ReadFile(filepath.Join(home, file))
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p.id, p.secret = identity.ID, settingsFile.Cluster.Secret
	return p
}

// freeAddress is where nothing listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
}

// certificate writes one that nobody vouches for, for loopback.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = write(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = write(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert, key
}

// The ways of IPFS Cluster's command line to a peer: passwords, a Unix socket, libp2p, TLS.
func TestIncumbent_WaysToAPeer(t *testing.T) {
	p := newLone(t)
	c := &incumbent{tally: newTally(t)}
	credentials := []string{"--basic-auth", user + ":" + password}

	c.host = p.api
	c.exits(2, "id", "Code: 401", "unauthorized: no auth provided")
	c.exits(2, "--force-http --basic-auth "+user+":wrong id", "Code: 401", "unauthorized: access denied")
	c.exits(1, "--basic-auth "+user+":"+password+" id", "HTTP response to HTTPS client")
	c.does("--force-http --basic-auth "+user+":"+password+" id", p.id)
	c.environ = []string{"CLUSTER_CREDENTIALS=" + user + ":" + password}
	c.does("-f id", p.id)
	c.environ = nil

	c.flags, c.host = append(credentials, "-f"), "/unix"+p.socket
	c.does("id", p.id)
	c.does("add -q "+write(t, t.TempDir(), "a.txt", "hello\n"), helloCid)

	c.flags, c.host = append(credentials, "--secret", p.secret), p.swarm+"/p2p/"+p.id
	c.does("id", p.id)
	c.does("pin ls", helloCid)
	c.does("add -q "+write(t, t.TempDir(), "a.txt", "other\n"), "Qm")
	c.flags = []string{"--secret", p.secret}
	c.exits(2, "pin rm "+helloCid, "Code: 401")
	c.flags = credentials
	c.exits(1, "--timeout 10 id")

	cert, key := certificate(t)
	p = newLone(t, "CLUSTER_RESTAPI_SSLCERTFILE="+cert, "CLUSTER_RESTAPI_SSLKEYFILE="+key)
	c.flags, c.host = credentials, p.api
	c.exits(1, "id", "certificate")
	c.does("--no-check-certificate id", p.id)
	c.flags = append(credentials, "--https", "--no-check-certificate")
	c.does("peers ls", p.id)
	c.does("add -q "+write(t, t.TempDir(), "a.txt", "hello\n"), helloCid)
	c.report("ipfs-cluster-ctl, the ways to a peer", 16)
}
