package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	gopath "path"
	"slices"
	"strings"
	"time"

	client "github.com/ipfs/boxo/pinning/remote/client"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// remoteCommands pin at pinning services of others, as the node's user asks.
var remoteCommands = []*command{
	{path: "pin/remote"},
	{path: "pin/remote/service"},
	{path: "pin/remote/service/ls", run: (*call).remoteServices, options: []option{opt(boolean, "stat")}},
	{path: "pin/remote/service/add", run: (*call).addRemoteService, args: []argument{{name: "service"}, {name: "endpoint"}, {name: "key"}}},
	{path: "pin/remote/service/rm", run: (*call).removeRemoteService, args: []argument{{name: "service"}}},
	{path: "pin/remote/add", run: (*call).remoteAdd, args: []argument{{name: "ipfs-path"}}, options: []option{
		opt(text, "service"), opt(text, "name"), opt(boolean, "background"),
	}},
	{path: "pin/remote/ls", run: (*call).remoteLs, options: remoteFilters},
	{path: "pin/remote/rm", run: (*call).remoteRm, options: append([]option{opt(boolean, "force")}, remoteFilters...)},
}

var remoteFilters = []option{opt(text, "service"), opt(text, "name"), opt(texts, "cid"), opt(texts, "status")}

const (
	// maxServices bounds the services that are known.
	maxServices = 100
	// remotePoll is between questions to a service how far a pin is.
	remotePoll = 500 * time.Millisecond
	// statTimeout bounds asking a service for its counts.
	statTimeout = 10 * time.Second
)

type remoteService struct {
	Service     string
	ApiEndpoint string      //nolint:revive // Kubo's name
	Stat        *remoteStat `json:",omitempty"`
}

type remoteStat struct {
	Status   string
	PinCount *remoteCount `json:",omitempty"`
}

type remoteCount struct{ Queued, Pinning, Pinned, Failed int }

func (c *call) remoteServices() error {
	all, err := c.Node.Services()
	if err != nil {
		return err
	}
	out := struct{ RemoteServices []*remoteService }{[]*remoteService{}}
	var asked errgroup.Group
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := &remoteService{Service: name, ApiEndpoint: all[name].Endpoint}
		out.RemoteServices = append(out.RemoteServices, s)
		if c.boolean("stat") {
			asked.Go(func() error { s.Stat = c.remoteStat(all[name]); return nil })
		}
	}
	_ = asked.Wait() // a service that does not answer is told of as invalid
	return c.once(out)
}

// remoteStat counts the pins of a service.
func (c *call) remoteStat(s api.PinningService) *remoteStat {
	ctx, cancel := context.WithTimeout(c.ctx, statTimeout)
	defer cancel()
	var n remoteCount
	g, ctx := errgroup.WithContext(ctx)
	for status, to := range map[client.Status]*int{client.StatusQueued: &n.Queued, client.StatusPinning: &n.Pinning,
		client.StatusPinned: &n.Pinned, client.StatusFailed: &n.Failed} {
		g.Go(func() (err error) {
			_, *to, err = client.NewClient(s.Endpoint, s.Key).LsBatchSync(ctx, client.PinOpts.Limit(1), client.PinOpts.FilterStatus(status))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		c.log.Info("a pinning service does not tell its counts", "endpoint", s.Endpoint, "err", err)
		return &remoteStat{Status: "invalid"}
	}
	return &remoteStat{Status: "valid", PinCount: &n}
}

func (c *call) addRemoteService() error {
	name := c.args[0]
	endpoint, err := remoteEndpoint(c.args[1])
	if err != nil {
		return err
	}
	c.services.Lock()
	defer c.services.Unlock()
	all, err := c.Node.Services()
	if err != nil {
		return err
	}
	if _, ok := all[name]; ok {
		return api.Conflict.Errorf("service already present")
	}
	if len(all) >= maxServices {
		return api.TooLarge.Errorf("over %d services", maxServices)
	}
	all[name] = api.PinningService{Endpoint: endpoint, Key: c.args[2]}
	return c.Node.SetServices(all)
}

func remoteEndpoint(s string) (string, error) {
	u, err := url.ParseRequestURI(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", api.Invalid.Errorf("service endpoint must be a valid HTTP URL")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(gopath.Clean(u.Path), "."), "/")
	if u.RawQuery != "" {
		return "", api.Invalid.Errorf("service endpoint should be provided without any query parameters")
	}
	if strings.HasSuffix(u.Path, "/pins") {
		return "", api.Invalid.Errorf("service endpoint should be provided without the /pins suffix")
	}
	return u.String(), nil
}

func (c *call) removeRemoteService() error {
	c.services.Lock()
	defer c.services.Unlock()
	all, err := c.Node.Services()
	if err != nil {
		return err
	}
	delete(all, c.args[0])
	return c.Node.SetServices(all)
}

// remote gives a client of the service that the request names.
func (c *call) remote() (*client.Client, error) {
	if !c.given("service") {
		return nil, errors.New("a service name must be passed")
	}
	name := c.text("service")
	if name == "" {
		return nil, errors.New("remote pinning service name not specified")
	}
	all, err := c.Node.Services()
	if err != nil {
		return nil, err
	}
	s, ok := all[name]
	if !ok {
		return nil, errors.New("service not known")
	}
	return client.NewClient(s.Endpoint, s.Key), nil
}

type remotePin struct{ Status, Cid, Name string }

func (c *call) remotePin(p client.PinStatusGetter) remotePin {
	return remotePin{Status: p.GetStatus().String(), Cid: c.cid(p.GetPin().GetCid()), Name: p.GetPin().GetName()}
}

func (c *call) remoteAdd() error {
	service, err := c.remote()
	if err != nil {
		return err
	}
	x, err := c.resolve(c.args[0])
	if err != nil {
		return err
	}
	var opts []client.AddOption
	if name := c.text("name"); name != "" {
		if err := checkPinName(name); err != nil {
			return err
		}
		opts = append(opts, client.PinOpts.WithName(name))
	}
	here, err := c.Node.Reader(false).Blockstore().Has(c.ctx, x)
	if err != nil {
		return err
	}
	h := c.Node.Host()
	if here && h != nil {
		addrs, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
		if err != nil {
			return err
		}
		opts = append(opts, client.PinOpts.WithOrigins(addrs...))
	}
	p, err := service.Add(c.ctx, x, opts...)
	if err != nil {
		return err
	}
	for _, a := range p.GetDelegates() {
		info, err := peer.AddrInfoFromP2pAddr(a)
		if err == nil && h != nil {
			err = reach(c.ctx, h, *info)
		}
		if err != nil {
			c.log.Debug("delegate of a pinning service not reached", "address", a, "err", err)
		}
	}
	if !c.boolean("background") {
		if p, err = c.awaitRemote(service, p.GetRequestId()); err != nil {
			return err
		}
	}
	return c.emit(c.remotePin(p))
}

// awaitRemote waits until a service has pinned what was asked for.
func (c *call) awaitRemote(service *client.Client, id string) (client.PinStatusGetter, error) {
	tick := time.NewTicker(remotePoll)
	defer tick.Stop()
	for {
		p, err := service.GetStatusByID(c.ctx, id)
		if err != nil {
			return nil, fmt.Errorf("failed to check pin status for requestid=%q due to error: %w", id, err)
		}
		switch p.GetStatus() {
		case client.StatusPinned:
			return p, nil
		case client.StatusFailed:
			return nil, fmt.Errorf("remote service failed to pin requestid=%q", id)
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return nil, fmt.Errorf("waiting for pin interrupted, requestid=%q remains on remote service", id)
		}
	}
}

// eachRemote calls f with each of a service's pins that the request asks for.
func (c *call) eachRemote(service *client.Client, f func(client.PinStatusGetter) error) error {
	var opts []client.LsOption
	if name := c.text("name"); name != "" {
		if err := checkPinName(name); err != nil {
			return err
		}
		opts = append(opts, client.PinOpts.FilterName(name))
	}
	for _, s := range c.several("cid") {
		x, err := cid.Decode(s)
		if err != nil {
			return api.Invalid.Errorf("CID %q cannot be parsed: %w", s, err)
		}
		opts = append(opts, client.PinOpts.FilterCIDs(x))
	}
	statuses := c.several("status")
	if len(statuses) == 0 {
		statuses = []string{string(client.StatusPinned)}
	}
	for _, s := range statuses {
		if client.Status(s).String() == string(client.StatusUnknown) {
			return api.Invalid.Errorf("status %q is not valid", s)
		}
		opts = append(opts, client.PinOpts.FilterStatus(client.Status(s)))
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	pins, ended := service.GoLs(ctx, opts...)
	for p := range pins {
		if err := f(p); err != nil {
			cancel()
			<-ended
			return err
		}
	}
	return <-ended
}

// several reads an option that is given several times, or once with commas.
func (c *call) several(name string) (all []string) {
	values, _ := c.opts[name].([]string)
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

func (c *call) remoteLs() error {
	service, err := c.remote()
	if err != nil {
		return err
	}
	return c.eachRemote(service, func(p client.PinStatusGetter) error { return c.emit(c.remotePin(p)) })
}

func (c *call) remoteRm() error {
	service, err := c.remote()
	if err != nil {
		return err
	}
	var ids []string
	if err := c.eachRemote(service, func(p client.PinStatusGetter) error { ids = append(ids, p.GetRequestId()); return nil }); err != nil {
		return fmt.Errorf("error while listing remote pins: %w", err)
	}
	if len(ids) > 1 && !c.boolean("force") {
		return errors.New("multiple remote pins are matching this query, add --force to confirm the bulk removal")
	}
	for _, id := range ids {
		if err := service.DeleteByID(c.ctx, id); err != nil {
			return fmt.Errorf("removing pin identified by requestid=%q failed: %w", id, err)
		}
	}
	return nil
}

func reach(ctx context.Context, h host.Host, info peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return h.Connect(ctx, info)
}
