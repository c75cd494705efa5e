package rest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// fieldsParam are names of fields, with commas: rows have these alone, in that order.
var fieldsParam = queryParam{"fields", list, "the fields of a row, in their order; all where absent"}

// compact encodes rows with some of their fields.
type compact struct {
	names  []string
	values []func(reflect.Value) any
}

// shortStatus is the compact form of peer_map.
const shortStatus = "status"

// compactOf reads the names of fields that rows of type T are to have, nil for all.
func compactOf[T any](p *params) *compact {
	names := p.list("fields")
	if len(names) == 0 {
		if _, given := p.q["fields"]; given {
			p.fail("parameter fields invalid: it names none")
		}
		return nil
	}
	known := map[string]func(reflect.Value) any{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			known[name] = func(v reflect.Value) any { return v.FieldByIndex(f.Index).Interface() }
		}
	}
	if reflect.TypeFor[T]() == reflect.TypeFor[api.GlobalPinInfo]() {
		known[shortStatus] = func(v reflect.Value) any { return statusOnly(v.Interface().(api.GlobalPinInfo)) }
	}
	c := &compact{names: names}
	for i, name := range names {
		value := known[name]
		if value == nil {
			p.fail("parameter fields invalid: there is no field %q; these are: %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			return nil
		}
		if slices.Contains(names[:i], name) {
			p.fail("parameter fields invalid: %q is there twice", name)
			return nil
		}
		c.values = append(c.values, value)
	}
	return c
}

// statusOnly is the status by peer.
func statusOnly(g api.GlobalPinInfo) map[string]api.TrackerStatus {
	out := make(map[string]api.TrackerStatus, len(g.PeerMap))
	for id, p := range g.PeerMap {
		out[id] = p.Status
	}
	return out
}

// appendRow appends the row of v.
func (c *compact) appendRow(b []byte, v any) ([]byte, error) {
	out, row := append(b, '{'), reflect.ValueOf(v)
	for i, name := range c.names {
		text, err := json.Marshal(c.values[i](row))
		if err != nil {
			return b, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(strconv.AppendQuote(out, name), ':'), text...)
	}
	return append(out, '}'), nil
}
