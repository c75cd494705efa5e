package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// readFile fills the tree from JSON. An unknown key is a fault that names the nearest
// known one; a key that only IPFS Cluster knows is a warning.
func (r *reading) readFile(data []byte) {
	var any json.RawMessage
	if err := json.Unmarshal(data, &any); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			before := data[:min(int(syntax.Offset), len(data))]
			r.addf(nil, "line %d: not JSON: %v", 1+bytes.Count(before, []byte{'\n'}), err)
			return
		}
		r.addf(nil, "not JSON: %v", err)
		return
	}
	r.readObject(data, nil)
}

func (r *reading) readObject(raw []byte, path []string) {
	members, err := members(raw)
	if err != nil {
		if len(path) == 0 {
			r.addf(nil, "%v of sections", err)
		} else {
			r.addf([]string{strings.Join(path, ".")}, "%v of settings", err)
		}
		return
	}
	seen := map[string]bool{}
	for _, m := range members {
		at := below(path, m.name)
		where := strings.Join(at, ".")
		if seen[m.name] {
			r.addf([]string{where}, "is there twice")
			continue
		}
		seen[m.name] = true
		k, exact, section := r.find(where)
		ours, hint := foreign(where)
		switch {
		case exact:
			if err := setJSON(k, m.value); err != nil {
				r.addf([]string{where}, "%v", err)
			}
		case section:
			r.readObject(m.value, at)
		case ours:
			r.warnf("%s has no meaning in Pinfold and is ignored%s", where, hint)
		case refused[where] != "":
			r.addf([]string{where}, "%s", refused[where])
		default:
			r.addf(nil, "unknown key %s; did you mean %s?", printable(where), nearest(where, r.keys))
		}
	}
}

// printable gives a name from outside in a form that is safe to print.
func printable(name string) string {
	if quoted := strconv.Quote(name); len(quoted) != len(name)+2 {
		return quoted
	}
	return name
}

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members lists those of the JSON object raw, which must be valid JSON, as they stand
// there: encoding/json keeps the last of two with one name in silence.
func members(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("must be an object")
	}
	var out []member
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: name.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// setJSON sets k from its JSON value; null says nothing. A list may be one plain value;
// a duration is a Go duration string, a size a number or text. An error does not repeat strings: they may be secret.
func setJSON(k key, raw json.RawMessage) error {
	t := k.field.Type()
	if string(raw) == "null" {
		return nil
	}
	if isHidden(k) && string(raw) == strconv.Quote(hidden) {
		return errors.New("is hidden, as config show prints it; put the value itself there")
	}
	if t == durationType {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("must be %s", kindName(t))
		}
		return setText(k.field, s)
	}
	if isSize(k) && raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		return setSize(k.field, s)
	}
	if isList(t) && raw[0] != '[' {
		raw = slices.Concat([]byte{'['}, raw, []byte{']'})
	}
	if t.Kind() == reflect.Map {
		if err := checkNames(raw); err != nil {
			return err
		}
	}
	fresh := reflect.New(t)
	if err := json.Unmarshal(raw, fresh.Interface()); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			want := kindName(t)
			if isSize(k) {
				want = sizeForm
			}
			return fmt.Errorf("must be %s, not %s", want, mismatch.Value)
		}
		return err
	}
	k.field.Set(fresh.Elem())
	return nil
}

// checkNames fails where the JSON object raw has a name twice.
func checkNames(raw []byte) error {
	members, err := members(raw)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.name] {
			return fmt.Errorf("%q is there twice", m.name)
		}
		seen[m.name] = true
	}
	return nil
}

// isList tells whether values of t are lists of values, not a value such as a secret
// that happens to be kept in one.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && !reflect.PointerTo(t).Implements(unmarshalType)
}

// kindName tells what a value of t looks like in the file.
func kindName(t reflect.Type) string {
	switch {
	case t == durationType:
		return `a duration such as "30s" or "5m"`
	case reflect.PointerTo(t).Implements(unmarshalType):
		return "a string"
	case t.Kind() == reflect.Pointer:
		return kindName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "a list, each " + kindName(t.Elem())
	case t.Kind() == reflect.Map:
		return "an object, each value " + kindName(t.Elem())
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return "a whole number of 0 or more"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return "a whole number"
	default:
		return "a string"
	}
}
