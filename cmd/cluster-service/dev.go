package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/config"
)

// devPeer is one process of a development cluster, as dev.json lists it.
type devPeer struct {
	Name    string   `json:"name"`
	Dir     string   `json:"dir"`
	PID     int      `json:"pid"`
	API     string   `json:"api"`     // URL of the REST API
	Gateway string   `json:"gateway"` // URL of the HTTP gateway
	PinSvc  string   `json:"pinsvc"`  // URL of the Pinning Service API
	Proxy   string   `json:"proxy"`   // URL of the IPFS proxy
	Metrics string   `json:"metrics"` // URL for Prometheus
	api     string   // multiaddr
	gateway string   // multiaddr
	pinsvc  string   // multiaddr
	proxy   string   // multiaddr
	metrics string   // multiaddr
	listen  []string // settings of a new peer's addresses
	cmd     *exec.Cmd
	stdin   io.Reader     // what the process reads, nil for nothing
	ended   chan struct{} // closed once the process has
}

const (
	devReadyTimeout = 60 * time.Second
	devStopTimeout  = 15 * time.Second
)

func newDev(g *globals) *cobra.Command {
	var peers int
	var dir string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, a process a peer, to try things out",
		Long: "Run a whole cluster on this machine, a process a peer, on free loopback ports.\n" +
			"Timings are short: a dead peer is noticed and its pins repaired within seconds.\n" +
			"DIR/dev.json lists the peers' addresses and process IDs. It runs until interrupted.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			if peers < 1 || peers > 9 {
				return fmt.Errorf("reading --peers: %d is not between 1 and 9", peers)
			}
			if dir == "" {
				if dir, err = os.MkdirTemp("", "pinfold-dev-"); err != nil {
					return fmt.Errorf("making a directory: %w", err)
				}
				defer os.RemoveAll(dir)
			}
			return runDev(cmd.Context(), dir, peers, cmd.OutOrStdout(), log)
		},
	}
	cmd.Flags().IntVar(&peers, "peers", 3, "number of peers, 1 to 9")
	cmd.Flags().StringVar(&dir, "dir", "", "keep the peers' directories in `DIR` (default: a temporary one, removed at the end)")
	return cmd
}

// runDev starts the peers one after the other, prints where they are, and ends them
// when ctx ends. A peer that dies by itself is reported; the others go on.
func runDev(ctx context.Context, dir string, n int, out io.Writer, log *slog.Logger) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	var running sync.WaitGroup
	peers := make([]*devPeer, 0, n)
	defer func() { err = errors.Join(err, stopDev(peers, &running)) }()

	for i := range n {
		p, err := newDevPeer(dir, i)
		if err != nil {
			return err
		}
		args := []string{"-c", p.Dir, "daemon"}
		_, statErr := os.Stat(filepath.Join(p.Dir, "service.json"))
		fresh := errors.Is(statErr, fs.ErrNotExist)
		switch {
		case fresh && i == 0:
			init := exec.CommandContext(ctx, exe, "-c", p.Dir, "init")
			init.Env = p.environ()
			if text, err := init.CombinedOutput(); err != nil {
				return fmt.Errorf("initialising %s: %w: %s", p.Name, err, text)
			}
		case fresh:
			token, err := invite(ctx, peers[0].API)
			if err != nil {
				return err
			}
			args, p.stdin = []string{"-c", p.Dir, "join", "-"}, strings.NewReader(token)
		}
		if err := p.start(exe, args, &running, log); err != nil {
			return err
		}
		peers = append(peers, p)
		if fresh && i == 0 {
			if err := waitReady(ctx, peers, 1); err != nil {
				return err
			}
		}
	}
	if err := waitReady(ctx, peers, n); err != nil {
		return err
	}
	if err := waitVoters(ctx, peers); err != nil {
		return err
	}
	if err := writeDevFile(filepath.Join(dir, "dev.json"), peers); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PEER\tPID\tAPI\tGATEWAY\tPINNING SERVICE\tDIRECTORY")
	for _, p := range peers {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", p.Name, p.PID, p.API, p.Gateway, p.PinSvc, p.Dir)
	}
	w.Flush()
	fmt.Fprintf(out, "\nready: try  cluster-ctl --host %s peers ls   (Ctrl-C ends the cluster)\n", peers[0].API)
	<-ctx.Done()
	return nil
}

// newDevPeer prepares a peer below dir: on free ports, or where it listened before. All
// peers of a cluster that moved at once would not find each other.
func newDevPeer(dir string, i int) (*devPeer, error) {
	p := &devPeer{Name: fmt.Sprintf("peer%d", i+1)}
	p.Dir = filepath.Join(dir, p.Name)
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of %s: %w", p.Name, err)
	}
	there, err := config.Exists(p.Dir)
	if err != nil {
		return nil, err
	}
	if there {
		c, _, err := config.Load(p.Dir, nil)
		if err != nil {
			return nil, err
		}
		p.api, p.gateway, p.pinsvc = c.API.REST.HTTPListenMultiaddress[0], c.Embedded.Gateway.ListenMultiaddress, c.API.PinSvc.HTTPListenMultiaddress[0]
		p.proxy, p.metrics = c.API.Proxy.ListenMultiaddress[0], c.Metrics.ListenMultiaddress
	} else {
		ports, err := freePorts(7)
		if err != nil {
			return nil, err
		}
		tcp := func(port int) string { return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port) }
		p.api, p.gateway, p.pinsvc, p.proxy, p.metrics = tcp(ports[0]), tcp(ports[1]), tcp(ports[4]), tcp(ports[5]), tcp(ports[6])
		p.listen = []string{
			"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=" + p.api,
			"CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS=" + p.gateway,
			"CLUSTER_PINSVCAPI_HTTPLISTENMULTIADDRESS=" + p.pinsvc,
			"CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=" + p.proxy,
			"CLUSTER_METRICS_LISTENMULTIADDRESS=" + p.metrics,
			"CLUSTER_LISTENMULTIADDRESS=" + tcp(ports[2]),
			"CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=" + tcp(ports[3]),
		}
	}
	if p.API, err = loopbackURL(p.api); err != nil {
		return nil, err
	}
	if p.PinSvc, err = loopbackURL(p.pinsvc); err != nil {
		return nil, err
	}
	if p.Proxy, err = loopbackURL(p.proxy); err != nil {
		return nil, err
	}
	if p.Metrics, err = loopbackURL(p.metrics); err != nil {
		return nil, err
	}
	p.Metrics += "/metrics"
	p.Gateway, err = loopbackURL(p.gateway)
	return p, err
}

// loopbackURL gives the HTTP URL of a TCP multiaddr.
func loopbackURL(addr string) (string, error) {
	a, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return "", err
	}
	_, hostport, err := manet.DialArgs(a)
	return "http://" + hostport, err
}

// environ gives the peer its settings: where it listens, unless its file says so, and
// the short timings of dev.
func (p *devPeer) environ() []string {
	return append(append(os.Environ(), p.listen...),
		"CLUSTER_PEERNAME="+p.Name,
		"CLUSTER_MONITORPINGINTERVAL=1s",
		"CLUSTER_REPAIRGRACE=3s",
		"CLUSTER_RAFT_VOTERINTERVAL=300ms",
	)
}

func (p *devPeer) start(exe string, args []string, running *sync.WaitGroup, log *slog.Logger) error {
	file, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.Name, err)
	}
	p.cmd = exec.Command(exe, args...)
	p.cmd.Env = p.environ()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.stdin, file, file
	// A signal to the terminal's group must not reach the peers before it reached us.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		file.Close()
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.PID, p.ended = p.cmd.Process.Pid, make(chan struct{})
	running.Go(func() {
		defer close(p.ended)
		defer file.Close()
		if err := p.cmd.Wait(); err != nil {
			log.Warn("peer ended", "peer", p.Name, "err", err, "log", file.Name())
		}
	})
	return nil
}

// lastWords are the last lines of the peer's log.
func (p *devPeer) lastWords() string {
	text, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	const enough = 2000
	return string(text[max(0, len(text)-enough):])
}

// stopDev ends all peers, politely at first.
func stopDev(peers []*devPeer, running *sync.WaitGroup) error {
	for _, p := range peers {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has ended needs none
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-time.After(devStopTimeout):
	}
	for _, p := range peers {
		_ = p.cmd.Process.Kill()
	}
	<-done
	return errors.New("stopping the cluster: some peers did not stop in time and were killed")
}

func invite(ctx context.Context, api string) (string, error) {
	c, err := client.New(api, client.Options{})
	if err != nil {
		return "", err
	}
	token, err := c.Invite(ctx, 0)
	if err != nil {
		return "", fmt.Errorf("asking %s for a token: %w", api, err)
	}
	return token, nil
}

// waitReady returns once every peer answers and sees n peers.
func waitReady(ctx context.Context, peers []*devPeer, n int) error {
	ctx, cancel := context.WithTimeout(ctx, devReadyTimeout)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range peers {
		g.Go(func() error {
			c, err := client.New(p.API, client.Options{})
			if err != nil {
				return err
			}
			for {
				id, err := c.ID(ctx)
				if err == nil && len(id.ClusterPeers) == n && id.Role != "" {
					return nil
				}
				select {
				case <-p.ended:
					return fmt.Errorf("waiting for %s: it ended:\n%s", p.Name, p.lastWords())
				case <-ctx.Done():
					return fmt.Errorf("waiting for %s: it did not come up: %v; its log ends:\n%s", p.Name, err, p.lastWords())
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	return g.Wait()
}

// waitVoters returns once as many peers vote as will: before that, the death of one may
// leave no majority.
func waitVoters(ctx context.Context, peers []*devPeer) error {
	ctx, cancel := context.WithTimeout(ctx, devReadyTimeout)
	defer cancel()
	c, err := client.New(peers[0].API, client.Options{})
	if err != nil {
		return err
	}
	want := min(len(peers), 5)
	want -= 1 - want%2
	for {
		voters := 0
		for p, err := range c.Peers(ctx) {
			if err == nil && (p.Role == "voter" || p.Role == "leader") {
				voters++
			}
		}
		if voters >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d voters: there are %d", want, voters)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func writeDevFile(path string, peers []*devPeer) error {
	text, err := json.MarshalIndent(peers, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// triedPort counts up from a random one, so that no two peers of this process are given
// the same port before the first listens on it.
var triedPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(highPort - lowPort))
	return n
}()

// freePorts finds n TCP ports on loopback that nothing listens on now, and that no
// connection takes for its near end before they are listened on: see lowPort.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range portTries {
		if len(ports) == n {
			return ports, nil
		}
		port := lowPort + int(triedPort.Add(1)%(highPort-lowPort))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("finding free ports: of those tried between %d and %d, %d are free, and it takes %d", lowPort, highPort, len(ports), n)
}
