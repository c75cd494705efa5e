package proxy

import (
	"encoding/base64"
	"runtime"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multibase"

	"github.com/pinfold-cluster/pinfold/api"
)

// kuboVersion is the version of Kubo whose commands these are.
const kuboVersion = "0.42.0"

var idCommands = []*command{
	{path: "id", run: (*call).id, args: []argument{{name: "peerid", optional: true}}, options: []option{
		opt(text, "format", "f"), opt(text, "peerid-base").or("b58mh"),
	}},
	{path: "version", run: (*call).version, options: []option{
		opt(boolean, "number", "n"), opt(boolean, "commit"), opt(boolean, "repo"), opt(boolean, "all"),
	}},
}

type idOutput struct {
	ID           string
	PublicKey    string
	Addresses    []string
	AgentVersion string
	Protocols    []protocol.ID
}

func (c *call) id() error {
	write, err := idWriter(c.text("peerid-base"))
	if err != nil {
		return err
	}
	h := c.Node.Host()
	if h == nil {
		return errOffline
	}
	id := h.ID()
	if len(c.args) > 0 {
		if id, err = peer.Decode(c.args[0]); err != nil {
			return api.Invalid.Errorf("invalid peer id")
		}
	}
	if id == h.ID() {
		out, err := identify(h.Peerstore(), id, host.InfoFromHost(h).Addrs)
		if err != nil {
			return err
		}
		out.ID, out.AgentVersion = write(id), "pinfold/"+c.Version
		out.Protocols = h.Mux().Protocols()
		slices.Sort(out.Protocols)
		return c.once(out)
	}
	if !c.boolean("offline") {
		if err := h.Connect(c.ctx, peer.AddrInfo{ID: id}); err != nil {
			return err
		}
	}
	out, err := identify(h.Peerstore(), id, h.Peerstore().Addrs(id))
	if err != nil {
		return err
	}
	out.ID = write(id)
	return c.once(out)
}

// identify tells what is known of a peer.
func identify(known peerstore.Peerstore, id peer.ID, addrs []api.Multiaddr) (idOutput, error) {
	out := idOutput{ID: id.String()}
	if k := known.PubKey(id); k != nil {
		raw, err := crypto.MarshalPublicKey(k)
		if err != nil {
			return out, err
		}
		out.PublicKey = base64.StdEncoding.EncodeToString(raw)
	}
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: id, Addrs: addrs})
	if err != nil {
		return out, err
	}
	for _, a := range full {
		out.Addresses = append(out.Addresses, a.String())
	}
	slices.Sort(out.Addresses)
	if out.Protocols, err = known.GetProtocols(id); err != nil {
		return out, err
	}
	slices.Sort(out.Protocols)
	if v, err := known.Get(id, "AgentVersion"); err == nil {
		out.AgentVersion, _ = v.(string)
	}
	return out, nil
}

// idWriter gives how peer IDs are written: as multihashes, or as CIDs in a base.
func idWriter(form string) (func(peer.ID) string, error) {
	if form == "b58mh" || form == "v0" {
		return func(id peer.ID) string { return id.String() }, nil
	}
	base, err := multibase.EncoderByName(form)
	if err != nil {
		return nil, api.Invalid.Errorf("%w", err)
	}
	return func(id peer.ID) string { return keyCid(id).Encode(base) }, nil
}

// keyCid is the CID that a name is written as.
func keyCid(id peer.ID) cid.Cid { return peer.ToCid(id) }

func (c *call) version() error {
	return c.once(struct{ Version, Commit, Repo, System, Golang string }{
		kuboVersion, "", repoFormat, runtime.GOARCH + "/" + runtime.GOOS, runtime.Version()})
}
