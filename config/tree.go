package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A settings tree is a plain struct: a section is a struct field, a key any other
// field, both named by their json tag; ",inline" puts a struct's keys among those of the
// struct around it. The functions here fill such a struct from JSON
// and from the environment, and print what differs from another one.

// key is one setting: where it stands and the field that holds it.
type key struct {
	path  []string // json names from the root
	field reflect.Value
}

func (k key) String() string { return strings.Join(k.path, ".") }

var durationType = reflect.TypeFor[time.Duration]()

// jsonName gives the name of a struct field in the file, "" when it is not a setting.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if !f.IsExported() || name == "-" {
		return ""
	}
	return name
}

// isSection tells whether values of t hold keys rather than being one.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// keys lists the settings below v, in the order of the struct.
func keys(v reflect.Value, path []string) []key {
	var out []key
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := jsonName(f)
		if f.Tag.Get("json") == ",inline" {
			out = append(out, keys(v.Field(i), path)...) // its keys stand among ours
			continue
		}
		if name == "" {
			continue
		}
		below := append(append([]string(nil), path...), name)
		if isSection(f.Type) {
			out = append(out, keys(v.Field(i), below)...)
			continue
		}
		out = append(out, key{below, v.Field(i)})
	}
	return out
}

// faults collects every problem found, so that one run reports them all.
type faults []string

func (f *faults) addf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(f, "\n"))
}

// decode fills tree from JSON. Unknown keys are faults that name the nearest known
// one; those that ignored knows become warnings.
func decode(data []byte, tree reflect.Value, ignored func(path string) bool, bad *faults, warn *[]string) {
	var root map[string]json.RawMessage
	if err := json.Unmarshal(data, &root); err != nil {
		bad.addf("not a JSON object: %v", err)
		return
	}
	known := keys(tree, nil)
	decodeObject(root, nil, known, ignored, bad, warn)
}

func decodeObject(obj map[string]json.RawMessage, path []string, known []key, ignored func(string) bool, bad *faults, warn *[]string) {
	names := make([]string, 0, len(obj))
	for name := range obj {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		at := append(append([]string(nil), path...), name)
		where := strings.Join(at, ".")
		exact, section := find(known, at)
		switch {
		case exact != nil:
			if err := setJSON(exact.field, obj[name]); err != nil {
				bad.addf("%s: %v", where, err)
			}
		case section:
			var below map[string]json.RawMessage
			if err := json.Unmarshal(obj[name], &below); err != nil {
				bad.addf("%s: must be an object of settings", where)
				continue
			}
			decodeObject(below, at, known, ignored, bad, warn)
		case ignored(where):
			*warn = append(*warn, fmt.Sprintf("%s has no meaning in Pinfold and is ignored", where))
		default:
			bad.addf("unknown key %s; did you mean %s?", where, nearest(where, known))
		}
	}
}

// find tells whether path is a known key, or a section that holds some.
func find(known []key, path []string) (exact *key, section bool) {
	at := strings.Join(path, ".")
	for i := range known {
		s := known[i].String()
		if s == at {
			return &known[i], false
		}
		if strings.HasPrefix(s, at+".") {
			section = true
		}
	}
	return nil, section
}

// setJSON sets a field from its JSON value. A list may be one plain value; a duration
// is a Go duration string.
func setJSON(field reflect.Value, raw json.RawMessage) error {
	if string(raw) == "null" {
		return nil
	}
	if field.Type() == durationType {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("must be a duration such as \"30s\", not %s", raw)
		}
		return setText(field, s)
	}
	if field.Kind() == reflect.Slice && len(raw) > 0 && raw[0] != '[' && field.Type().Elem().Kind() != reflect.Uint8 {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	fresh := reflect.New(field.Type())
	if err := json.Unmarshal(raw, fresh.Interface()); err != nil {
		return fmt.Errorf("%s is not a %s", raw, kindName(field.Type()))
	}
	field.Set(fresh.Elem())
	return nil
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
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		field.SetInt(n)
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(s, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number of 0 or more", s)
		}
		field.SetUint(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		field.SetFloat(f)
	case reflect.Slice:
		return setTextList(field, s)
	case reflect.Map:
		return setTextMap(field, s)
	default:
		return fmt.Errorf("cannot be set from the environment")
	}
	return nil
}

func setTextList(field reflect.Value, s string) error {
	list := reflect.MakeSlice(field.Type(), 0, 4)
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		item := reflect.New(field.Type().Elem()).Elem()
		if err := setText(item, part); err != nil {
			return err
		}
		list = reflect.Append(list, item)
	}
	field.Set(list)
	return nil
}

func setTextMap(field reflect.Value, s string) error {
	m := reflect.MakeMap(field.Type())
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return fmt.Errorf("%q is not a key:value pair", part)
		}
		item := reflect.New(field.Type().Elem()).Elem()
		if err := setText(item, value); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(name).Convert(field.Type().Key()), item)
	}
	field.Set(m)
	return nil
}

func kindName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list of " + kindName(t.Elem()) + "s"
	case t.Kind() == reflect.Map:
		return "object"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		return "number"
	default:
		return "string"
	}
}

// render gives the settings of tree for which keep is true, as indented JSON in the
// order of the struct.
func render(tree reflect.Value, keep func(k key) bool, hide func(k key) bool) ([]byte, error) {
	var b bytes.Buffer
	var open []string // sections that are open now
	b.WriteByte('{')
	comma := false
	for _, k := range keys(tree, nil) {
		if !keep(k) {
			continue
		}
		section := k.path[:len(k.path)-1]
		shared := 0
		for shared < len(open) && shared < len(section) && open[shared] == section[shared] {
			shared++
		}
		for range len(open) - shared {
			b.WriteByte('}')
			comma = true
		}
		if comma {
			b.WriteByte(',')
		}
		for _, name := range section[shared:] {
			b.WriteString(strconv.Quote(name) + ":{")
		}
		open, comma = section, true
		text, err := valueJSON(k.field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		if hide(k) && !k.field.IsZero() {
			text = []byte(`"(hidden)"`)
		}
		b.WriteString(strconv.Quote(k.path[len(k.path)-1]) + ":" + string(text))
	}
	b.WriteString(strings.Repeat("}", len(open)+1))
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func valueJSON(v reflect.Value) ([]byte, error) {
	if v.Type() == durationType {
		return json.Marshal(time.Duration(v.Int()).String())
	}
	if v.Kind() == reflect.Slice && v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8 {
		return []byte("[]"), nil
	}
	return json.Marshal(v.Interface())
}
