package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hidden stands for a value that is not to be shown.
const hidden = "(hidden)"

func isHidden(k key) bool {
	return slices.Contains([]string{"cluster.secret", "api.restapi.basic_auth_credentials", "api.pinsvcapi.basic_auth_credentials",
		"api.restapi.private_key", "api.pinsvcapi.private_key"}, k.String())
}

// Save writes c to dir, in settings that differ from the defaults only, readable by the
// owner only. The file must not exist: fs.ErrExist is in the error's chain then.
func (c Config) Save(dir string) error { return save(c, filepath.Join(dir, File)) }

// tree is a settings tree.
type tree[T any] interface {
	withDefaults() (T, error)
}

func save[T tree[T]](c T, file string) error {
	text, err := brief(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// brief gives c as it stands in a file, without what is a default.
func brief[T tree[T]](c T) ([]byte, error) {
	least, err := differences(c)
	if err != nil {
		return nil, err
	}
	return render(&least, func(k key) bool { return !k.field.IsZero() }, func(key) bool { return false })
}

// differences gives the settings that make c once defaults are filled in. Some defaults
// follow from other settings; those are not among them.
func differences[T tree[T]](c T) (least T, err error) {
	want, set := keys(reflect.ValueOf(&c).Elem(), nil), keys(reflect.ValueOf(&least).Elem(), nil)
	for changed := true; changed; {
		changed = false
		for i := range want {
			full, err := least.withDefaults()
			if err != nil {
				return least, err
			}
			have := keys(reflect.ValueOf(&full).Elem(), nil)[i].field
			if equal(have, want[i].field) || equal(set[i].field, want[i].field) {
				continue
			}
			set[i].field.Set(want[i].field)
			changed = true
		}
	}
	return least, nil
}

func equal(a, b reflect.Value) bool { return reflect.DeepEqual(a.Interface(), b.Interface()) }

// Show gives all settings in force as JSON, without secrets and passwords.
func (c Config) Show() ([]byte, error) { return show(&c) }

func show(c any) ([]byte, error) {
	return render(c, func(key) bool { return true }, isHidden)
}

// render gives the settings of the tree that c points to for which keep is true, as
// indented JSON in the order of the struct.
func render(c any, keep, hide func(k key) bool) ([]byte, error) {
	inner, err := renderFields(reflect.ValueOf(c).Elem(), nil, keep, hide)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, []byte("{"+strings.Join(inner, ",")+"}"), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// renderFields gives the members of the JSON object for v, which stands at path.
func renderFields(v reflect.Value, path []string, keep, hide func(k key) bool) (members []string, err error) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, inline := jsonName(f)
		at := path
		if !inline {
			if name == "" {
				continue
			}
			at = below(path, name)
		}
		if inline || isSection(f.Type) {
			inner, err := renderFields(v.Field(i), at, keep, hide)
			if err != nil {
				return nil, err
			}
			if inline {
				members = append(members, inner...)
			} else if len(inner) > 0 {
				members = append(members, strconv.Quote(name)+":{"+strings.Join(inner, ",")+"}")
			}
			continue
		}
		k := key{at, v.Field(i)}
		if !keep(k) {
			continue
		}
		text, err := valueJSON(k.field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		if hide(k) && !k.field.IsZero() {
			text = []byte(strconv.Quote(hidden))
		}
		members = append(members, strconv.Quote(name)+":"+string(text))
	}
	return members, nil
}

func valueJSON(v reflect.Value) ([]byte, error) {
	if v.Type() == durationType {
		return json.Marshal(time.Duration(v.Int()).String())
	}
	if isList(v.Type()) && v.IsNil() {
		return []byte("[]"), nil
	}
	return json.Marshal(v.Interface())
}
