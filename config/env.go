package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// prefixes are the environment's names of sections, as IPFS Cluster has them; state and
// embedded are ours alone.
var prefixes = map[string]string{
	"cluster":                 "CLUSTER_",
	"consensus.raft":          "CLUSTER_RAFT_",
	"state":                   "CLUSTER_STATE_",
	"api.restapi":             "CLUSTER_RESTAPI_",
	"api.pinsvcapi":           "CLUSTER_PINSVCAPI_",
	"api.ipfsproxy":           "CLUSTER_IPFSPROXY_",
	"ipfs_connector.ipfshttp": "CLUSTER_IPFSHTTP_",
	"embedded":                "CLUSTER_EMBEDDED_",
	"metrics":                 "CLUSTER_METRICS_",
	"pin_tracker.stateless":   "CLUSTER_STATELESS_",
	"monitor.pubsubmon":       "CLUSTER_PUBSUBMON_",
	"informer.tags":           "CLUSTER_TAGS_",
	"followers":               "CLUSTER_FOLLOWERS_",
	"follow":                  "CLUSTER_FOLLOW_",
}

// credentials is the variable that cluster-ctl reads.
const credentials = "CLUSTER_CREDENTIALS"

// EnvID and EnvPrivateKey are the variables of a peer's identity, which is no setting:
// its peer ID, and the base64 of its libp2p private key.
const (
	EnvID         = "CLUSTER_ID"
	EnvPrivateKey = "CLUSTER_PRIVATEKEY"
)

// envName gives the variable of the setting at path: the section's prefix and the rest
// of the path in capitals without underscores, joined by underscores.
func envName(path []string) string {
	for n := len(path) - 1; n > 0; n-- {
		prefix, ok := prefixes[strings.Join(path[:n], ".")]
		if !ok {
			continue
		}
		parts := make([]string, 0, len(path)-n)
		for _, p := range path[n:] {
			parts = append(parts, strings.ToUpper(strings.ReplaceAll(p, "_", "")))
		}
		return prefix + strings.Join(parts, "_")
	}
	return ""
}

// readEnviron sets what the environment (name=value pairs) says; an empty variable says
// nothing. One that starts with CLUSTER_ and means nothing is a warning, not a fault:
// whoever runs the process may have put it there, as Kubernetes does for a service
// named cluster.
func (r *reading) readEnviron(environ []string) {
	byName := make(map[string]key, len(r.keys))
	for _, k := range r.keys {
		byName[envName(k.path)] = k
	}
	sorted := slices.Clone(environ)
	slices.SortStableFunc(sorted, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Compare(a, b)
	})
	for _, pair := range sorted {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "CLUSTER_") || value == "" || name == credentials || name == EnvID || name == EnvPrivateKey {
			continue
		}
		k, ok := byName[name]
		if !ok {
			r.warnf("the environment variable %s means nothing to Pinfold and is ignored%s", printable(name), hintFor(name, byName))
			continue
		}
		r.variable[k.String()] = name
		if !utf8.ValidString(value) {
			r.addf([]string{k.String()}, "is not UTF-8")
			continue
		}
		set := setText
		if isSize(k) {
			set = setSize
		}
		if err := set(k.field, value); err != nil {
			r.addf([]string{k.String()}, "%v", err)
		}
	}
}

// hintFor tells what to do about an unknown variable, where that is known.
func hintFor(name string, known map[string]key) string {
	for _, f := range foreigners {
		if f.hint != "" && envName(strings.Split(f.path, ".")) == name {
			return ": " + f.hint
		}
	}
	for _, n := range slices.Sorted(maps.Keys(known)) {
		if edits(name, n) <= 2 {
			return "; did you mean " + n + "?"
		}
	}
	return ""
}

// setText sets a field from the text form that the environment uses: lists are
// separated by commas, maps are key:value pairs separated by commas.
func setText(field reflect.Value, s string) error {
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	if field.Type() == durationType {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 5m", s)
		}
		field.SetInt(int64(d))
		return nil
	}
	switch field.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(field.Type().Elem())
		if err := setText(fresh.Elem(), s); err != nil {
			return err
		}
		field.Set(fresh)
	case reflect.String:
		field.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		field.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		field.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number of 0 or more", s)
		}
		field.SetUint(n)
	case reflect.Slice:
		return setTextList(field, s)
	case reflect.Map:
		return setTextMap(field, s)
	default:
		return errors.New("cannot be set from the environment")
	}
	return nil
}

// parts are the elements of a list in the environment.
func parts(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func setTextList(field reflect.Value, s string) error {
	parts := parts(s)
	list := reflect.MakeSlice(field.Type(), len(parts), len(parts))
	for i, part := range parts {
		if err := setText(list.Index(i), part); err != nil {
			return err
		}
	}
	field.Set(list)
	return nil
}

// setTextMap does not repeat what it was given in errors: it may be passwords.
func setTextMap(field reflect.Value, s string) error {
	m := reflect.MakeMap(field.Type())
	for i, part := range parts(s) {
		name, value, ok := strings.Cut(part, ":")
		if !ok || name == "" {
			return fmt.Errorf("must be key:value pairs with commas between them, and number %d is none", i+1)
		}
		if m.MapIndex(reflect.ValueOf(name)).IsValid() {
			return fmt.Errorf("%q is there twice", name)
		}
		item := reflect.New(field.Type().Elem()).Elem()
		if err := setText(item, value); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(name), item)
	}
	field.Set(m)
	return nil
}
