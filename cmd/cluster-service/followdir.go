package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// followed is a follower's directory.
type followed struct {
	directory
	name string
}

// followName is what a cluster can be called: it is the name of a directory, and a word
// of a shell.
var followName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func followedIn(base, name string) (followed, error) {
	if !followName.MatchString(name) {
		return followed{}, fmt.Errorf("reading the name: %q is not 1 to 64 letters, digits, dots, - and _, a letter or digit first", name)
	}
	return followed{directory(filepath.Join(base, name)), name}, nil
}

func (d followed) link() string  { return d.path("link.json") }
func (d followed) feed() string  { return d.path("feed") }
func (d followed) share() string { return d.path("share") }

// maxSocketPath is what Linux and others take, in bytes.
const maxSocketPath = 104

// socket is where the follower answers the commands of this machine.
func (d followed) socket() string { return d.path("api-socket") }

const (
	lockWait = 3 * time.Second
	lockTick = 50 * time.Millisecond
)

// lockSoon is lock, but waits a little for a command that looks at the pinset to end.
func (d followed) lockSoon(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		if release, err = d.lock(); err == nil {
			return release, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; where that is a follower, 'cluster-service follow %s' tells how it is", err, d.name)
		case <-time.After(lockTick):
		}
	}
}

// initialised tells whether the directory is a follower's: its settings are the last file
// that init writes.
func (d followed) initialised() (bool, error) { return config.FollowerExists(string(d.directory)) }

// errUnknown says what to do about a name that is not followed.
func (d followed) errUnknown() error {
	return fmt.Errorf("following %s: no such cluster is followed in %s; to begin: cluster-service follow %s LINK", d.name, filepath.Dir(string(d.directory)), d.name)
}

const linkFetchTimeout = 20 * time.Second

// readLink reads a link, or gets it from a URL.
func readLink(ctx context.Context, source string) (p2p.Link, error) {
	if !isURL(source) {
		return p2p.ParseLink(source)
	}
	ctx, cancel := context.WithTimeout(ctx, linkFetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return p2p.Link{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return p2p.Link{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return p2p.Link{}, fmt.Errorf("get %s", answered(source, res))
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, p2p.MaxLink+1))
	if err != nil {
		return p2p.Link{}, fmt.Errorf("get %s: %w", source, err)
	}
	link, err := p2p.ParseLink(string(text))
	if err != nil {
		return link, fmt.Errorf("get %s: %w", answered(source, res), err)
	}
	return link, nil
}

// answered tells what came from a URL: where a login or an error page came in place of a
// link, one can see it by that.
func answered(source string, res *http.Response) string {
	text := source
	if at := res.Request.URL.String(); at != source {
		text += ", which led to " + at
	}
	kind := res.Header.Get("Content-Type")
	if kind == "" {
		kind = "of no type"
	}
	return fmt.Sprintf("%s: %s, %s", short(printable(text), maxAnswered), short(printable(res.Status), maxAnswered), short(printable(kind), maxAnswered))
}

// maxAnswered bounds each part of that, in bytes: a server may say anything.
const maxAnswered = 256

// init makes d the directory of a follower, with settings c, of the cluster of source. Of
// several at once one does.
func (d followed) init(ctx context.Context, source string, c config.Follower, out io.Writer) error {
	if err := d.checkNew(); err != nil {
		return err
	}
	if n := len(d.socket()); n > maxSocketPath {
		return fmt.Errorf("initialising: %s has %d characters and a socket's name at most %d: choose a shorter name or directory (-c)", d.socket(), n, maxSocketPath)
	}
	link, err := readLink(ctx, source)
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	if isURL(source) {
		c.Follow.Source = source
	}
	if err := os.MkdirAll(string(d.directory), 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	release, err := d.lockSoon(ctx)
	if err != nil { // it may run by now
		return cmp.Or(d.checkNew(), fmt.Errorf("initialising: %w", err))
	}
	defer release()
	if err := d.checkNew(); err != nil {
		return err
	}
	if err := d.choosePorts(&c); err != nil {
		return err
	}
	if _, err := d.begin(nil, out); err != nil {
		return err
	}
	if err := d.saveLink(link); err != nil {
		return err
	}
	if err := c.Save(string(d.directory)); err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	fmt.Fprintf(out, "%q is followed as %s from now on; the limits are in %s\n", link.Name, d.name, d.path(config.FollowerFile))
	return nil
}

// checkNew fails where d is a follower's directory already.
func (d followed) checkNew() error {
	there, err := d.initialised()
	if err != nil {
		return fmt.Errorf("looking at the directory: %w", err)
	}
	if there {
		return fmt.Errorf("initialising: %s is followed already; 'cluster-service follow %s run' goes on, '... leave' gives it up", d.name, d.name)
	}
	return nil
}

func (d followed) saveLink(link p2p.Link) error {
	return writeWhole(d.link(), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(link)
	})
}

func (d followed) loadLink() (p2p.Link, error) {
	text, err := os.ReadFile(d.link())
	if err != nil {
		return p2p.Link{}, err
	}
	return p2p.ParseLink(string(text))
}

// sameCluster takes over what source says of the cluster followed, and goes by source from
// now on: what another URL served would else take its place at once. It fails where that
// is another cluster.
func (d followed) sameCluster(ctx context.Context, source string, out io.Writer) error {
	text, err := os.ReadFile(d.path(config.FollowerFile))
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	url := ""
	if isURL(source) {
		url = source
	}
	text, had, err := config.WithSource(text, url)
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	if url != "" && url == had {
		return nil // each start reads it, and does without where it cannot be read
	}
	link, err := readLink(ctx, source)
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	release, err := d.lockSoon(ctx)
	if err != nil {
		return fmt.Errorf("following %s: stop it first: %w", d.name, err)
	}
	defer release()
	old, err := d.loadLink()
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	if _, err := d.adopt(old, link); errors.Is(err, errOlder) {
		fmt.Fprintf(out, "%s goes on by the link that it has: the one given is of a key that the cluster had before\n", d.name)
		return nil
	} else if err != nil {
		return err
	}
	if url == had {
		return nil
	}
	if err := writeWhole(d.path(config.FollowerFile), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}); err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	if had != "" {
		fmt.Fprintf(out, "%s goes by this link from now on, and no longer by %s\n", d.name, had)
	}
	return nil
}

var (
	errAnother = errors.New("it is of another cluster")
	// errOlder is about a link of a key that the cluster had before.
	errOlder = errors.New("it is older than the one that is kept: the cluster's key was renewed since")
)

// compareLinks returns nil where link may take the place of old, else errAnother or errOlder.
func compareLinks(old, link p2p.Link) error {
	switch {
	case p2p.LeadTo(link.Renewals, old.Key, link.Key):
		return nil
	case p2p.LeadTo(old.Renewals, link.Key, old.Key):
		return errOlder
	}
	return errAnother
}

// adopt puts a newer link in the place of the old one. It fails where it is of another
// cluster: whoever serves the link could lead the follower anywhere. The caller has the
// lock.
func (d followed) adopt(old, link p2p.Link) (p2p.Link, error) {
	switch err := compareLinks(old, link); {
	case errors.Is(err, errAnother):
		return old, fmt.Errorf("reading the link: %w, %q, than the one that %s follows; if that is meant: 'cluster-service follow %s leave', and follow anew", err, link.Name, d.name, d.name)
	case err != nil:
		return old, err
	}
	if old.Incarnation != link.Incarnation {
		// The index of the one means nothing in the other. Content stays.
		if err := errors.Join(os.RemoveAll(d.state()), os.RemoveAll(d.feed())); err != nil {
			return old, err
		}
	}
	return link, d.saveLink(link)
}

// renewLink gets the newest link, or where that fails the one kept.
func (d followed) renewLink(ctx context.Context, source string, warn func(error)) (p2p.Link, error) {
	old, err := d.loadLink()
	if err != nil {
		return old, fmt.Errorf("reading the link: %w", err)
	}
	if source == "" {
		return old, nil
	}
	link, err := readLink(ctx, source)
	if err != nil {
		warn(err)
		return old, nil
	}
	link, err = d.adopt(old, link)
	if errors.Is(err, errOlder) {
		warn(err)
		err = nil
	}
	return link, err
}

// The ports of followers are below those that systems give to connections: one that does
// not run finds its own free again.
const (
	lowPort   = 20000
	highPort  = 32000
	portTries = 1000
)

// choosePorts gives a new follower addresses of its own, where its settings name none:
// several follow on one machine.
func (d followed) choosePorts(c *config.Follower) error {
	others, err := d.othersSettings()
	if err != nil {
		return fmt.Errorf("choosing ports: %w", err)
	}
	var ports []int
	for range portTries {
		port := lowPort + rand.IntN(highPort-lowPort)
		if slices.Contains(ports, port) || strings.Contains(others, fmt.Sprintf("/tcp/%d\"", port)) || taken(port) {
			continue
		}
		if ports = append(ports, port); len(ports) == 3 {
			break
		}
	}
	if len(ports) < 3 {
		return errors.New("choosing ports: none is free; name some in CLUSTER_LISTENMULTIADDRESS and the like")
	}
	everywhere := func(port int) []multiaddr.Multiaddr {
		return []multiaddr.Multiaddr{multiaddr.StringCast(fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port))}
	}
	if len(c.Cluster.Listen) == 0 {
		c.Cluster.Listen = everywhere(ports[0])
	}
	if c.Embedded.Data.Listen[0].Equal(p2p.DataOptions{}.WithDefaults().Listen[0]) {
		c.Embedded.Data.Listen = everywhere(ports[1])
	}
	if c.Embedded.Gateway.ListenMultiaddress == (gateway.Options{}).WithDefaults().ListenMultiaddress {
		c.Embedded.Gateway.ListenMultiaddress = fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", ports[2])
	}
	return nil
}

// othersSettings are those of the followers beside d, as they stand in their files.
func (d followed) othersSettings() (string, error) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(string(d.directory)), "*", config.FollowerFile))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

// taken tells whether somebody listens at a TCP port.
func taken(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// client asks the follower that runs.
func (d followed) client() (*client.Client, error) {
	return client.New("/unix"+mustAbs(d.socket()), client.Options{Timeout: socketTimeout})
}

const socketTimeout = 30 * time.Second

// running tells whether the follower answers.
func (d followed) running(ctx context.Context) bool {
	c, err := d.client()
	if err != nil {
		return false
	}
	defer c.Close()
	return c.Health(ctx) == nil
}

// mustAbs is the path from the root: a multiaddr has no other.
func mustAbs(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
