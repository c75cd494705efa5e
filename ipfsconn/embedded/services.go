package embedded

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pinfold-cluster/pinfold/api"
)

// prefixServices is the key, in the blocks' database, of the pinning services that the
// node's user has named.
const prefixServices = 'r'

// Services gives the pinning services that SetServices keeps, by name.
func (n *Node) Services() (map[string]api.PinningService, error) {
	if err := n.use.begin(); err != nil {
		return nil, err
	}
	defer n.use.end()
	all := map[string]api.PinningService{}
	v, closer, err := n.blocks.DB().Get([]byte{prefixServices})
	if errors.Is(err, pebble.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pinning services: %w", err)
	}
	if err := errors.Join(api.Decode(v, &all), closer.Close()); err != nil {
		return nil, fmt.Errorf("read the pinning services: %w", err)
	}
	return all, nil
}

// SetServices keeps these pinning services, durably, and no others.
func (n *Node) SetServices(all map[string]api.PinningService) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	v, err := api.Encode(all)
	if err == nil {
		err = n.blocks.DB().Set([]byte{prefixServices}, v, pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("write the pinning services: %w", err)
	}
	return nil
}
