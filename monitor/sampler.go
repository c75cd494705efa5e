package monitor

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Sampler measures this peer. The metrics have a name, value, weight, and say
// whether they are valid and partitionable; the rest is filled in.
type Sampler func(ctx context.Context) []api.Metric

// PingMetric is the metric of Ping, whose value is the JSON of a PingValue.
const PingMetric = ping

// PingValue tells who a peer is, and where its IPFS node can be dialled.
type PingValue struct {
	Name      string          `json:"peer_name"`
	ID        string          `json:"ipfs_id,omitempty"`
	Addresses []api.Multiaddr `json:"ipfs_addresses,omitempty"`
}

// Ping says who this peer is and that it lives. An IPFS node that does not answer
// takes nothing from that.
func Ping(name string, node func(context.Context) (api.IPFSID, error)) Sampler {
	return func(ctx context.Context) []api.Metric {
		v := PingValue{Name: name}
		if id, err := node(ctx); err == nil {
			v.Addresses = id.Addresses
			if id.ID != "" {
				v.ID = id.ID.String()
			}
		}
		b, err := json.Marshal(v)
		return []api.Metric{{Name: ping, Value: string(b), Valid: err == nil}}
	}
}

// FreeSpace tells the bytes that pins may still take: net of what running adds have
// reserved and of the pins that this peer is to hold and has not stored yet.
func FreeSpace(free func(context.Context) (uint64, error)) Sampler {
	return func(ctx context.Context) []api.Metric {
		n, err := free(ctx)
		n = min(n, math.MaxInt64)
		return []api.Metric{{Name: freeSpace, Value: strconv.FormatUint(n, 10), Weight: int64(n), Valid: err == nil}}
	}
}

// PinQueue tells how many pins wait.
func PinQueue(waiting func() int) Sampler {
	return func(context.Context) []api.Metric {
		n := waiting()
		return []api.Metric{{Name: pinQueue, Value: strconv.Itoa(n), Weight: -int64(n), Valid: true}}
	}
}

// Tags tells this peer's tags, over whose values copies are spread.
func Tags(tags map[string]string) Sampler {
	var list []api.Metric
	for k, v := range tags {
		list = append(list, api.Metric{Name: tagPrefix + k, Value: v, Valid: true, Partitionable: true})
	}
	slices.SortFunc(list, func(a, b api.Metric) int { return strings.Compare(a.Name, b.Name) })
	return func(context.Context) []api.Metric { return list }
}

// ReadOnly tells that this peer is to be given no more pins.
func ReadOnly() Sampler {
	return func(context.Context) []api.Metric {
		return []api.Metric{{Name: readOnly, Value: "true", Weight: 1, Valid: true}}
	}
}
