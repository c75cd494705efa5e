package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
)

// volunteer is a follower as its owner runs it: a process of command lines.
type volunteer struct {
	t        *testing.T
	base     string
	settings []string // environment
	logPath  string
	proc     *exec.Cmd
	ended    chan error
}

func newVolunteer(t *testing.T, settings ...string) *volunteer {
	t.Helper()
	base, err := os.MkdirTemp("", "follow") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	v := &volunteer{t: t, base: base, settings: settings, logPath: filepath.Join(base, "log")}
	t.Cleanup(func() {
		v.stop()
		if t.Failed() {
			text, _ := os.ReadFile(v.logPath)
			t.Logf("the end of the log of the follower:\n%s", text[max(0, len(text)-12<<10):])
		}
		os.RemoveAll(base)
	})
	return v
}

// command prepares a command line that begins with follow.
func (v *volunteer) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"-c", v.base, "follow"}, args...)...)
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "CLUSTER_") })
	cmd.Env = append(env, asProgram+"=1", "CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0",
		"CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0", "CLUSTER_PEERNAME=volunteer")
	cmd.Env = append(cmd.Env, v.settings...)
	return cmd
}

// say runs a command line to its end.
func (v *volunteer) say(args ...string) (string, error) {
	out, err := v.command(args...).CombinedOutput()
	return string(out), err
}

func (v *volunteer) mustSay(args ...string) string {
	v.t.Helper()
	out, err := v.say(args...)
	if err != nil {
		v.t.Fatalf("follow %q: %v\n%s", args, err, out)
	}
	return out
}

// start runs a command line that goes on until stop or kill.
func (v *volunteer) start(args ...string) {
	v.t.Helper()
	logs, err := os.OpenFile(v.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	cmd := v.command(args...)
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	ended := make(chan error, 1)
	v.proc, v.ended = cmd, ended
	go func() {
		defer logs.Close()
		ended <- cmd.Wait()
	}()
}

func (v *volunteer) stop() {
	v.t.Helper()
	if v.proc == nil {
		return
	}
	_ = v.proc.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-v.ended:
		if err != nil {
			v.t.Errorf("the follower stopped with: %v", err)
		}
	case <-time.After(patience):
		v.t.Error("the follower does not stop")
		_ = v.proc.Process.Kill()
		<-v.ended
	}
	v.proc = nil
}

func (v *volunteer) kill() {
	v.t.Helper()
	if err := v.proc.Process.Kill(); err != nil {
		v.t.Fatal(err)
	}
	<-v.ended
	v.proc = nil
}

// http asks the follower of a name over its socket.
func (v *volunteer) http(name string) *client.Client {
	v.t.Helper()
	c, err := client.New("/unix"+filepath.Join(v.base, name, "api-socket"), client.Options{})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(c.Close)
	return c
}

// holdsAll fails unless the follower stands where the peer does and has exactly these
// pins, all of them whole.
func (v *volunteer) holdsAll(name string, p *testPeer, want ...api.Cid) error {
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	c := v.http(name)
	own, err := c.ID(ctx)
	if err != nil {
		return err
	}
	theirs, err := p.http.ID(ctx)
	if err != nil {
		return err
	}
	if own.Digest == "" || !strings.HasPrefix(theirs.Digest, own.Digest) {
		return fmt.Errorf("the follower is at index %d with %s, the peer at %d with %s", own.Index, own.Digest, theirs.Index, theirs.Digest)
	}
	var got []api.Cid
	for info, err := range c.Statuses(ctx, client.StatusList{}) {
		if err != nil {
			return err
		}
		for _, s := range info.PeerMap {
			if s.Status != api.StatusPinned {
				return fmt.Errorf("%s is %s: %s", info.Cid, s.Status, s.Error)
			}
		}
		got = append(got, info.Cid)
	}
	if len(got) != len(want) {
		return fmt.Errorf("it has %d pins, want %d", len(got), len(want))
	}
	for _, c := range want {
		if !slices.Contains(got, c) {
			return fmt.Errorf("it has not %s", c)
		}
	}
	return nil
}

// reads fails unless the follower's gateway serves the content from its own node.
func (v *volunteer) reads(name string, c api.Cid, want []byte) {
	v.t.Helper()
	self, err := v.http(name).ID(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	res, err := http.Get(self.Gateway + "/ipfs/" + c.String())
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != string(want) {
		v.t.Errorf("%s: %s, %d bytes, %v", c, res.Status, len(got), err)
	}
}

func (p *testPeer) followLink() string {
	p.t.Helper()
	l, err := p.http.FollowLink(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return l.Link
}

// A follower's whole life, as its owner lives it.
func TestFollow_FromLinkToLeave(t *testing.T) {
	peers := startCluster(t, 3)
	first := peers[0]
	before := randomBytes(700 << 10)
	a := first.add(before, copies(-1))
	v := newVolunteer(t)
	v.start("archive", first.followLink())
	holds := func(want ...api.Cid) {
		t.Helper()
		eventually(t, patience, func() error { return v.holdsAll("archive", first, want...) })
	}
	holds(a)
	v.reads("archive", a, before)

	// Adds and pins come, on one peer only too, and unpins go.
	after := randomBytes(300 << 10)
	b := peers[1].add(after, copies(1))
	holds(a, b)
	v.reads("archive", b, after)
	if _, err := first.http.Unpin(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	holds(b)

	// It changes nothing.
	c := v.http("archive")
	if _, err := c.Pin(t.Context(), a, copies(1)); code(err) != http.StatusForbidden || !strings.Contains(err.Error(), "follower") {
		t.Errorf("a pin on a follower: %v", err)
	}
	if _, err := c.Unpin(t.Context(), b); code(err) != http.StatusForbidden {
		t.Errorf("an unpin on a follower: %v", err)
	}
	if err := c.RemovePeer(t.Context(), first.id); code(err) != http.StatusForbidden {
		t.Errorf("removing a peer on a follower: %v", err)
	}
	if _, err := c.Invite(t.Context(), 0); code(err) != http.StatusForbidden {
		t.Errorf("an invitation by a follower: %v", err)
	}
	if self, err := first.self(); err != nil || len(self.ClusterPeers) != 3 {
		t.Errorf("the peers are %v, %v", self.ClusterPeers, err)
	}

	// It is away while things happen, politely and not.
	v.stop()
	d := peers[2].add(randomBytes(100<<10), copies(-1))
	v.start("archive", "run")
	holds(b, d)
	v.kill()
	if _, err := first.http.Unpin(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	e := first.add(randomBytes(100<<10), copies(2))
	v.start("archive", "run", "--init", "http://127.0.0.1:1/gone.json") // as a container says each time
	holds(d, e)

	eventually(t, patience, func() error { // it counts now and then
		info := v.mustSay("archive")
		for _, want := range []string{`"test"`, "as volunteer", "2 of 2 pins", "up to date"} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("info does not say %q:\n%s", want, info)
			}
		}
		return nil
	})
	if out, err := v.say("archive", "leave", "--force"); err == nil || !strings.Contains(out, "stop it first") {
		t.Errorf("leave while it runs: %v\n%s", err, out)
	}
	v.stop()
	v.mustSay("archive", "leave", "--force")
	if _, err := os.Stat(filepath.Join(v.base, "archive")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory after leave: %v", err)
	}
	if out, err := v.say("archive"); err == nil || !strings.Contains(out, "no such cluster is followed") {
		t.Errorf("info after leave: %v\n%s", err, out)
	}
}

// A volunteer with a slow line gets everything, and gets it once: what is given up while it
// is on its way has to come again, and what two are asked for comes twice.
func TestFollow_SlowLineIsEnough(t *testing.T) {
	const size, files = 4 << 20, 2
	peers := startCluster(t, 3)
	var all []api.Cid
	for i := range files {
		all = append(all, peers[i%3].add(randomBytes(size), copies(2)))
	}
	v := newVolunteer(t)
	v.start("archive", peers[0].followLink(), "--max-bandwidth", "512KiB")
	c := v.http("archive")
	var got uint64
	eventually(t, 4*patience, func() error {
		if err := v.holdsAll("archive", peers[0], all...); err != nil {
			return err
		}
		carried, err := c.Bandwidth(t.Context())
		for _, b := range carried {
			got += uint64(b.TotalIn)
		}
		return err
	})
	if got > files*size*11/10 {
		t.Errorf("%d bytes came in for %d", got, files*size)
	}
}

// A volunteer with room for a part takes what others do not hold: half of the ranges have a
// copy, and of 120 pins it takes some 40.
func TestFollow_ShareIsOfWhatIsThin(t *testing.T) {
	const pins, size = 120, 32 << 10
	p := startCluster(t, 1, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")[0]
	var held feed.Claim
	for i := range len(held) / 2 {
		held[i] = 0xff
	}
	has := map[api.Cid]bool{}
	var thick, thin api.Cid
	for range pins {
		if c := p.add(randomBytes(size), copies(1)); held.Has(c) {
			has[c], thick = true, c
		} else {
			thin = c
		}
	}
	p.talk("other", &talker{blocks: ownBlocks{p.daemon.node.(*embedded.Node)}, hold: "share", claim: &held, has: has})
	eventually(t, patience, func() error {
		b, ok := p.daemon.audience.coverage(time.Now())
		if !ok {
			return errors.New("there is no table")
		}
		table, err := feed.ParseCoverage(b)
		if err == nil && (table.Copies(thick) != 1 || table.Copies(thin) != 0) {
			err = fmt.Errorf("%d and %d copies, want 1 and 0", table.Copies(thick), table.Copies(thin))
		}
		return err
	})

	v := newVolunteer(t)
	v.start("archive", p.followLink(), "--capacity", fmt.Sprint(pins/3*size*20/19+size))
	c := v.http("archive")
	eventually(t, patience, func() error {
		twice, once := 0, 0
		for info, err := range c.Statuses(t.Context(), client.StatusList{Filter: api.StatusPinned}) {
			if err != nil {
				return err
			}
			if has[info.Cid] {
				twice++
			} else {
				once++
			}
		}
		if once+twice < pins/4 {
			return fmt.Errorf("it holds %d", once+twice)
		}
		if twice > once/2 {
			t.Errorf("of what another has it takes %d, and of the rest %d", twice, once)
		}
		return nil
	})
}
