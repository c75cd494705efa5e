package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/config"
)

// The whole-cluster tests run real peers: as Daemons of this process, or, where a test
// kills or stops one, as processes of this same program.

// asProgram makes this test program be cluster-service.
const asProgram = "PINFOLD_TEST_AS_CLUSTER_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is how long a cluster may take for what it does by itself, on a machine
// that does much else.
const patience = 2 * time.Minute

// testPeer is one peer. It is stopped at the end of its test.
type testPeer struct {
	flags    []string // of the daemon, where it is a process
	t        *testing.T
	name     string
	dir      directory
	settings map[string]string
	http     *client.Client
	url      string // of the REST API
	gateway  string
	id       api.PeerID
	logPath  string

	net    *lan    // that its connections go over; nil for the machine's
	daemon *Daemon // while it runs in this process
	stopIt context.CancelFunc
	ended  chan error // of the Daemon or the process; nil while it does not run
	proc   *exec.Cmd
}

// startCluster starts n peers in this process, the first of which makes the cluster,
// and waits until they are one. Settings are NAME=value, without CLUSTER_.
func startCluster(t *testing.T, n int, settings ...string) []*testPeer {
	t.Helper()
	return growCluster(t, n, (*testPeer).start, settings)
}

// startOn is startCluster over a lan.
func startOn(t *testing.T, net *lan, n int, settings ...string) []*testPeer {
	t.Helper()
	return growCluster(t, n, func(p *testPeer) { net.add(p); p.start() }, settings)
}

// spawnCluster is startCluster with a process a peer.
func spawnCluster(t *testing.T, n int, settings ...string) []*testPeer {
	t.Helper()
	return growCluster(t, n, (*testPeer).spawn, settings)
}

func growCluster(t *testing.T, n int, start func(*testPeer), settings []string) []*testPeer {
	t.Helper()
	peers := []*testPeer{newPeer(t, "peer1", settings...)}
	peers[0].init()
	start(peers[0])
	waitTogether(t, peers)
	for i := 2; i <= n; i++ {
		p := newPeer(t, fmt.Sprint("peer", i), settings...)
		p.mustJoin(peers[0].invite())
		start(p)
		peers = append(peers, p)
	}
	waitTogether(t, peers)
	return peers
}

func newPeer(t *testing.T, name string, settings ...string) *testPeer {
	t.Helper()
	p := &testPeer{t: t, name: name, dir: directory(filepath.Join(t.TempDir(), name)), settings: map[string]string{
		"PEERNAME":            name,
		"MONITORPINGINTERVAL": "2s", // a peer that says nothing for four is dead
		"REPAIRGRACE":         "1s",
		"SETTLETIME":          "2s",
		"RAFT_VOTERINTERVAL":  "200ms",
	}}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		p.settings[name] = value
	}
	p.logPath = filepath.Join(t.TempDir(), name+".log")
	p.move()
	t.Cleanup(func() {
		p.stop()
		p.http.Close()
		if t.Failed() {
			text, _ := os.ReadFile(p.logPath)
			t.Logf("the end of the log of %s, %s:\n%s", name, p.id, text[max(0, len(text)-12<<10):])
		}
	})
	return p
}

// move gives the peer new addresses.
func (p *testPeer) move() {
	tcp := func(port int) string { return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port) }
	rest, gateway := testPort(p.t), testPort(p.t)
	p.settings["LISTENMULTIADDRESS"] = tcp(testPort(p.t))
	p.settings["RESTAPI_HTTPLISTENMULTIADDRESS"] = tcp(rest)
	p.settings["EMBEDDED_SWARMLISTENMULTIADDRESS"] = tcp(testPort(p.t))
	p.settings["EMBEDDED_GATEWAYLISTENMULTIADDRESS"] = tcp(gateway)
	p.settings["PINSVCAPI_HTTPLISTENMULTIADDRESS"] = tcp(0)
	p.settings["IPFSPROXY_LISTENMULTIADDRESS"] = tcp(0)
	if p.settings["METRICS_LISTENMULTIADDRESS"] == "" {
		p.settings["METRICS_LISTENMULTIADDRESS"] = "off"
	}
	p.url = fmt.Sprintf("http://127.0.0.1:%d", rest)
	p.gateway = fmt.Sprintf("http://127.0.0.1:%d", gateway)
	if p.http != nil {
		p.http.Close()
	}
	var err error
	if p.http, err = client.New(p.url, client.Options{}); err != nil {
		p.t.Fatal(err)
	}
}

var lastPort atomic.Int32

// testPort finds a free port below those from which systems take the near end of a
// connection: a peer that restarts finds its own free again.
func testPort(t *testing.T) int {
	t.Helper()
	lastPort.CompareAndSwap(0, 10000+int32(os.Getpid()*64%20000))
	for range 2000 {
		port := int(lastPort.Add(1))
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// environ is the environment with the peer's settings and no others.
func (p *testPeer) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "CLUSTER_") })
	for name, value := range p.settings {
		env = append(env, "CLUSTER_"+name+"="+value)
	}
	return env
}

func (p *testPeer) init() {
	p.t.Helper()
	if err := initCluster(p.dir, "test", "", p.environ(), io.Discard, quiet); err != nil {
		p.t.Fatalf("init of %s: %v", p.name, err)
	}
	p.readID()
}

// join joins by a token; the peer is not started.
func (p *testPeer) join(token string) error {
	return joinCluster(p.t.Context(), p.dir, token, p.environ(), io.Discard, quiet)
}

func (p *testPeer) mustJoin(token string) {
	p.t.Helper()
	eventually(p.t, patience, func() error { // the other may not be reached in time
		if err := p.join(token); err != nil {
			return fmt.Errorf("join of %s: %w", p.name, err)
		}
		return nil
	})
	p.readID()
}

func (p *testPeer) readID() {
	p.t.Helper()
	ids, err := p.dir.loadIdentities()
	if err != nil {
		p.t.Fatal(err)
	}
	p.id = ids.cluster.ID
}

func (p *testPeer) invite() string {
	p.t.Helper()
	token, err := p.http.Invite(p.t.Context(), 0)
	if err != nil {
		p.t.Fatalf("invitation by %s: %v", p.name, err)
	}
	return token
}

var quiet = slog.New(slog.DiscardHandler)

func (p *testPeer) openLog() *os.File {
	p.t.Helper()
	f, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// start runs the peer in this process, until stop.
func (p *testPeer) start() {
	p.t.Helper()
	logs := p.openLog()
	log := newLogger(logs, slog.LevelInfo, nil)
	c, warnings, err := config.Load(string(p.dir), p.environ())
	if err != nil || len(warnings) > 0 {
		p.t.Fatalf("settings of %s: %v, %v", p.name, err, warnings)
	}
	if p.net != nil {
		c.Cluster.Host.Dial, c.Embedded.Data.Dial = p.net.dialer(p), p.net.dialer(p)
	}
	d, err := openDaemon(p.dir, c, log)
	if err != nil {
		p.t.Fatalf("start of %s: %v", p.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	p.daemon, p.stopIt, p.ended = d, cancel, ended
	go func() {
		defer logs.Close()
		ended <- errors.Join(d.Run(ctx), d.Close())
	}()
}

// spawn runs the peer as a process, until stop or kill.
func (p *testPeer) spawn() {
	p.t.Helper()
	logs := p.openLog()
	cmd := exec.Command(os.Args[0], append([]string{"-c", string(p.dir), "daemon"}, p.flags...)...)
	cmd.Env = append(p.environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start of %s: %v", p.name, err)
	}
	ended := make(chan error, 1)
	p.proc, p.ended = cmd, ended
	p.stopIt = func() {
		_ = cmd.Process.Signal(syscall.SIGCONT) // it may be frozen
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	go func() {
		defer logs.Close()
		ended <- cmd.Wait()
	}()
}

// stop ends the peer as an operator does, which must work.
func (p *testPeer) stop() {
	p.t.Helper()
	if p.ended == nil {
		return
	}
	if p.proc != nil { // a test that failed may have left it frozen
		_ = p.proc.Process.Signal(syscall.SIGCONT)
	}
	p.stopIt()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("%s stopped with: %v", p.name, err)
		}
	case <-time.After(patience):
		if p.proc == nil {
			p.t.Fatalf("%s does not stop", p.name)
		}
		p.t.Errorf("%s does not stop", p.name)
		_ = p.proc.Process.Signal(syscall.SIGQUIT) // the log gets its goroutines
		select {
		case <-p.ended:
		case <-time.After(patience):
			_ = p.proc.Process.Kill()
			<-p.ended
		}
	}
	p.ended, p.daemon, p.proc = nil, nil, nil
}

// kill ends the peer's process with SIGKILL.
func (p *testPeer) kill() {
	p.t.Helper()
	if err := p.proc.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	p.ended, p.proc = nil, nil
}

// endsByItself waits for the peer to end and returns why it did.
func (p *testPeer) endsByItself() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended, p.daemon, p.proc = nil, nil, nil
		return err
	case <-time.After(patience):
		p.t.Fatalf("%s goes on", p.name)
		return nil
	}
}

// freeze keeps the peer's process from running; the others hear nothing of it. thaw
// lets it go on.
func (p *testPeer) freeze() { p.signal(syscall.SIGSTOP) }
func (p *testPeer) thaw()   { p.signal(syscall.SIGCONT) }

func (p *testPeer) signal(s os.Signal) {
	p.t.Helper()
	if err := p.proc.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *testPeer) self() (api.Peer, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	return p.http.ID(ctx)
}

// eventually returns once cond is nil.
func eventually(t *testing.T, within time.Duration, cond func() error) {
	t.Helper()
	end := time.After(within)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("after %s: %v", within, err)
		case <-tick.C:
		}
	}
}

// waitTogether returns once the peers are one cluster: each knows all and what room
// they have, the first reaches all, as many vote as should, and they know the same at
// the same index.
func waitTogether(t *testing.T, peers []*testPeer) {
	t.Helper()
	eventually(t, patience, func() error {
		for _, p := range peers {
			self, err := p.self()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if len(self.ClusterPeers) != len(peers) {
				return fmt.Errorf("%s knows %d peers, want %d", p.name, len(self.ClusterPeers), len(peers))
			}
			metrics, err := p.http.Metrics(t.Context(), "freespace")
			if err != nil || len(metrics) != len(peers) {
				return fmt.Errorf("%s knows the room on %d peers, want %d: %v", p.name, len(metrics), len(peers), err)
			}
		}
		roles := map[string]int{}
		for m, err := range peers[0].http.Peers(t.Context()) {
			if err != nil || m.Error != "" {
				return fmt.Errorf("%s does not reach %s: %v %s", peers[0].name, m.PeerName, err, m.Error)
			}
			roles[m.Role]++
		}
		voters := min(5, len(peers)-(len(peers)+1)%2)
		if roles["leader"] != 1 || roles["voter"] != voters-1 {
			return fmt.Errorf("roles are %v, want %d that vote, one of which leads", roles, voters)
		}
		return nil
	})
	waitEqual(t, peers)
}

// waitEqual returns once the peers are at the same log index; there, their pinsets
// must be the same.
func waitEqual(t *testing.T, peers []*testPeer) {
	t.Helper()
	eventually(t, patience, func() error {
		digests := map[uint64]string{}
		for _, p := range peers {
			self, err := p.self()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if d, ok := digests[self.Index]; ok && d != self.Digest {
				t.Fatalf("%s has another state at log index %d: %s, want %s", p.name, self.Index, self.Digest, d)
			}
			digests[self.Index] = self.Digest
		}
		if len(digests) > 1 {
			return fmt.Errorf("peers are at %d different log indexes", len(digests))
		}
		return nil
	})
}

// leaderOf tells which of the peers leads.
func leaderOf(t *testing.T, peers []*testPeer) (leader *testPeer, others []*testPeer) {
	t.Helper()
	eventually(t, patience, func() error {
		leader, others = nil, nil
		for _, p := range peers {
			self, err := p.self()
			if err != nil {
				return err
			}
			if self.Role == "leader" {
				leader = p
			} else {
				others = append(others, p)
			}
		}
		if leader == nil || len(others) != len(peers)-1 {
			return errors.New("not one leader")
		}
		return nil
	})
	return leader, others
}

// pinset reads all that p lists.
func (p *testPeer) pinset() map[api.Cid]api.Pin {
	p.t.Helper()
	out := map[api.Cid]api.Pin{}
	for pin, err := range p.http.Allocations(p.t.Context()) {
		if err != nil {
			p.t.Fatalf("pinset of %s: %v", p.name, err)
		}
		out[pin.Cid] = pin
	}
	return out
}

func (p *testPeer) pin(c api.Cid, o api.PinOptions) (pin api.Pin) {
	p.t.Helper()
	p.must("pin", func() (err error) {
		pin, err = p.http.Pin(p.t.Context(), c, o)
		return err
	})
	return pin
}

func (p *testPeer) unpin(c api.Cid) {
	p.t.Helper()
	tried := false
	p.must("unpin", func() error {
		_, err := p.http.Unpin(p.t.Context(), c)
		if tried && code(err) == http.StatusNotFound {
			return nil
		}
		tried = true
		return err
	})
}

// add adds one file through p and returns its CID.
func (p *testPeer) add(content []byte, o api.PinOptions) (c api.Cid) {
	p.t.Helper()
	p.must("add", func() (err error) {
		c, err = p.tryAdd(content, o)
		return err
	})
	return c
}

// must does what a client does that is told to come again: on a busy machine a leader may
// lose its place at any time.
func (p *testPeer) must(what string, f func() error) {
	p.t.Helper()
	eventually(p.t, patience, func() error {
		err := f()
		switch code(err) {
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusAccepted:
			return fmt.Errorf("%s through %s: %w", what, p.name, err)
		}
		if err != nil {
			p.t.Fatalf("%s through %s: %v", what, p.name, err)
		}
		return nil
	})
}

func (p *testPeer) tryAdd(content []byte, o api.PinOptions) (c api.Cid, err error) {
	params := api.DefaultAddParams()
	params.PinOptions = o
	for out, err := range p.http.Add(p.t.Context(), oneFile(content), params) {
		if err != nil {
			return c, err
		}
		c = out.Cid
	}
	return c, nil
}

func oneFile(content []byte) files.Directory {
	return files.NewMapDirectory(map[string]files.Node{"file": files.NewBytesFile(content)})
}

// statuses tells the status of c on each of the peers, as through asks them.
func statuses(t *testing.T, through *testPeer, c api.Cid) map[api.PeerID]api.TrackerStatus {
	t.Helper()
	info, err := through.http.Status(t.Context(), c, false)
	if err != nil {
		t.Fatalf("status through %s: %v", through.name, err)
	}
	out := map[api.PeerID]api.TrackerStatus{}
	for id, s := range info.PeerMap {
		peer, err := api.ParsePeerID(id)
		if err != nil {
			t.Fatal(err)
		}
		out[peer] = s.Status
	}
	return out
}

// fetch reads c from the peer's gateway.
func (p *testPeer) fetch(c api.Cid) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.gateway+"/ipfs/"+c.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return body, err
}

// readable fails where one of the peers does not give content for c.
func readable(t *testing.T, peers []*testPeer, c api.Cid, content []byte) {
	t.Helper()
	for _, p := range peers {
		eventually(t, patience, func() error {
			got, err := p.fetch(c)
			if err == nil && !bytes.Equal(got, content) {
				t.Fatalf("%s gives %d wrong bytes for %s", p.name, len(got), c)
			}
			if err != nil {
				err = fmt.Errorf("%s reads %s, which has %v: %w", p.name, c, statuses(t, p, c), err)
			}
			return err
		})
	}
}

// each does f for all peers at once.
func each(peers []*testPeer, f func(*testPeer)) {
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() { f(p) })
	}
	all.Wait()
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// randomCid names content that nobody has.
func randomCid() api.Cid { return rawBlock(randomBytes(32)).cid }

type rawTestBlock struct {
	cid   api.Cid
	block blocks.Block
}

// rawBlock is data as one block.
func rawBlock(data []byte) rawTestBlock {
	sum, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	c := cid.NewCidV1(cid.Raw, sum)
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		panic(err)
	}
	return rawTestBlock{api.Cid{Cid: c}, b}
}

func rawBlocks(bs ...rawTestBlock) (out []blocks.Block) {
	for _, b := range bs {
		out = append(out, b.block)
	}
	return out
}

func copies(n int) api.PinOptions {
	return api.PinOptions{ReplicationFactorMin: n, ReplicationFactorMax: n}
}
