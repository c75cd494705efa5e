package monitor

import (
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Bounds on a message from another peer.
const (
	maxMessage = 64 << 10
	maxMetrics = 64
	maxName    = 128
	maxValue   = 8 << 10
	maxTTL     = time.Hour
)

// A message is what a peer publishes. Its fields are numbered for the wire; numbers
// are never reused.
type message struct {
	// Number rises from message to message, also across a restart.
	Number  uint64        `cbor:"1,keyasint"`
	Wall    int64         `cbor:"2,keyasint"` // Unix nanoseconds by the sender's clock
	Index   uint64        `cbor:"3,keyasint"` // log index of the sender's state when it measured
	Metrics []measurement `cbor:"4,keyasint"`
}

// A measurement is a metric on its way: whose it is follows from the signer, when it
// expires from the receiver's clock.
type measurement struct {
	Name          string        `cbor:"1,keyasint"`
	Value         string        `cbor:"2,keyasint,omitempty"`
	Weight        int64         `cbor:"3,keyasint,omitempty"`
	Partitionable bool          `cbor:"4,keyasint,omitempty"`
	Valid         bool          `cbor:"5,keyasint,omitempty"`
	TTL           time.Duration `cbor:"6,keyasint"`
}

// Valid tells whether data is a message of metrics, for a topic to pass it on.
func Valid(_ api.PeerID, data []byte) bool {
	_, err := decode(data)
	return err == nil
}

func encode(m message) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	data, err := api.Encode(m)
	if err != nil {
		return nil, err
	}
	if len(data) > maxMessage {
		return nil, api.TooLarge.Errorf("metrics take %d bytes, more than %d", len(data), maxMessage)
	}
	return data, nil
}

// decode reads a message. The error is Invalid or TooLarge.
func decode(data []byte) (message, error) {
	var m message
	if len(data) > maxMessage {
		return m, api.TooLarge.Errorf("metrics take %d bytes, more than %d", len(data), maxMessage)
	}
	if err := api.Decode(data, &m); err != nil {
		return m, err
	}
	return m, m.check()
}

func (m message) check() error {
	if len(m.Metrics) > maxMetrics {
		return api.Invalid.Errorf("%d metrics in a message, more than %d", len(m.Metrics), maxMetrics)
	}
	for _, x := range m.Metrics {
		if x.Name == "" || len(x.Name) > maxName || len(x.Value) > maxValue || x.TTL <= 0 || x.TTL > maxTTL {
			return api.Invalid.Errorf("metric %.32q: its name has 1 to %d bytes, its value %d at most, and it lasts up to %v", x.Name, maxName, maxValue, maxTTL)
		}
	}
	return nil
}
