package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// A settings tree is a plain struct: a section is a struct field, a key any other
// field, both named by their json tag; ",inline" puts a struct's keys among those of the
// struct around it.

// key is one setting: where it stands and the field that holds it.
type key struct {
	path  []string // json names from the root
	field reflect.Value
}

func (k key) String() string { return strings.Join(k.path, ".") }

var (
	durationType  = reflect.TypeFor[time.Duration]()
	unmarshalType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// keys lists the settings below v, in the order of the struct.
func keys(v reflect.Value, path []string) []key {
	var out []key
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, inline := jsonName(f)
		switch {
		case inline:
			out = append(out, keys(v.Field(i), path)...)
		case name == "":
		case isSection(f.Type):
			out = append(out, keys(v.Field(i), below(path, name))...)
		default:
			out = append(out, key{below(path, name), v.Field(i)})
		}
	}
	return out
}

// jsonName gives the name of a struct field in the file, "" when it is not a setting.
func jsonName(f reflect.StructField) (name string, inline bool) {
	tag := f.Tag.Get("json")
	if !f.IsExported() || tag == ",inline" {
		return "", f.IsExported()
	}
	if name, _, _ = strings.Cut(tag, ","); name == "-" {
		return "", false
	}
	return name, false
}

// isSection tells whether values of t hold keys rather than being one.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(unmarshalType)
}

func below(path []string, name string) []string {
	return append(append(make([]string, 0, len(path)+1), path...), name)
}

// reading is a tree that is being filled, with everything found wrong so far: one run
// reports all faults.
type reading struct {
	keys     []key
	variable map[string]string // of the settings that the environment made, by path
	faults   []fault
	warnings []string
}

// fault is what is wrong with the settings at paths.
type fault struct {
	paths []string
	text  string
}

// newReading fills the settings tree that c points to.
func newReading(c any) *reading {
	return &reading{keys: keys(reflect.ValueOf(c).Elem(), nil), variable: map[string]string{}}
}

func (r *reading) addf(paths []string, format string, args ...any) {
	r.faults = append(r.faults, fault{paths, fmt.Sprintf(format, args...)})
}

func (r *reading) warnf(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// faulty tells whether a fault was found at one of paths or in a section around it.
func (r *reading) faulty(paths ...string) bool {
	for _, f := range r.faults {
		for _, bad := range f.paths {
			for _, p := range paths {
				if p == bad || strings.HasPrefix(p, bad+".") {
					return true
				}
			}
		}
	}
	return false
}

// err names every fault, each on a line of its own where there are several.
func (r *reading) err() error {
	lines := make([]string, len(r.faults))
	for i, f := range r.faults {
		where := make([]string, len(f.paths))
		for j, p := range f.paths {
			where[j] = p
			if name := r.variable[p]; name != "" {
				where[j] = name + " (" + p + ")"
			}
		}
		lines[i] = f.text
		if len(where) > 0 {
			lines[i] = strings.Join(where, ", ") + ": " + f.text
		}
	}
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s", lines[0])
	default:
		return fmt.Errorf("%d faults:\n  %s", len(lines), strings.Join(lines, "\n  "))
	}
}

// find tells whether path is a key, or a section that holds some.
func (r *reading) find(path string) (k key, exact, section bool) {
	for _, k := range r.keys {
		s := k.String()
		if s == path {
			return k, true, false
		}
		section = section || strings.HasPrefix(s, path+".")
	}
	return key{}, false, section
}
