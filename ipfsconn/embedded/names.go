package embedded

import (
	"errors"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxNames bounds how many names lead from one to the next.
const maxNames = 32

// withoutNames follows the names that p begins with, by the records that PutName keeps:
// neither DNS nor other nodes are asked. The error is Invalid for what is no name, and
// NotFound for one without a valid record.
func (n *Node) withoutNames(p path.Path) (path.ImmutablePath, error) {
	start := p
	for range maxNames {
		if !p.Mutable() {
			return path.NewImmutablePath(p)
		}
		segments := p.Segments()
		name, err := ipns.NameFromString(segments[1])
		if err != nil {
			return path.ImmutablePath{}, api.Invalid.Errorf("%q is not an IPNS name, and names of DNS (DNSLink) are not looked up: give the /ipfs path", segments[1])
		}
		value, err := n.valueOf(name)
		if err != nil {
			return path.ImmutablePath{}, err
		}
		if p, err = path.Join(value, segments[2:]...); err != nil {
			return path.ImmutablePath{}, api.NotFound.Errorf("the record of %s: %w", name, err)
		}
	}
	return path.ImmutablePath{}, api.NotFound.Errorf("%s leads through more than %d names", start, maxNames)
}

// valueOf is the path that the record of name holds.
func (n *Node) valueOf(name ipns.Name) (path.Path, error) {
	raw, err := n.GetName(name.Peer())
	if errors.Is(err, api.NotFound) {
		return nil, api.NotFound.Errorf("no record of the IPNS name %s is on this peer's node: ask the peer that published it, or give the /ipfs path", name)
	}
	if err != nil {
		return nil, err
	}
	rec, err := ipns.UnmarshalRecord(raw)
	if err == nil {
		err = ipns.ValidateWithName(rec, name)
	}
	if err != nil {
		return nil, api.NotFound.Errorf("the record of %s is not valid: %w", name, err)
	}
	value, err := rec.Value()
	if err != nil {
		return nil, api.NotFound.Errorf("the record of %s holds no path: %w", name, err)
	}
	return value, nil
}
