package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// WithSource returns the text of a follower's settings with another follow.source, none
// where that is "", and the one before. The rest stays as its owner wrote it.
func WithSource(text []byte, source string) (changed []byte, had string, err error) {
	if !json.Valid(text) {
		return nil, "", fmt.Errorf("%s: not JSON", FollowerFile)
	}
	section, err := valueOf(text, "follow")
	if err != nil {
		return nil, "", err
	}
	if section == nil {
		section = []byte("{}")
	}
	old, err := valueOf(section, "source")
	if err != nil {
		return nil, "", err
	}
	if old != nil {
		if err := json.Unmarshal(old, &had); err != nil {
			return nil, "", fmt.Errorf("follow.source: %w", err)
		}
	}
	var value []byte
	if source != "" {
		if value, err = json.Marshal(source); err != nil {
			return nil, "", err
		}
	}
	if section, err = withMember(section, "source", value); err != nil {
		return nil, "", err
	}
	if text, err = withMember(text, "follow", section); err != nil {
		return nil, "", err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, "", err
	}
	out.WriteByte('\n')
	return out.Bytes(), had, nil
}

// valueOf gives the value of a member of a JSON object, nil where there is none.
func valueOf(object []byte, name string) (json.RawMessage, error) {
	all, err := members(object)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.name == name {
			return m.value, nil
		}
	}
	return nil, nil
}

// withMember returns a JSON object with another value of a member, without it where that
// is nil.
func withMember(object []byte, name string, value json.RawMessage) ([]byte, error) {
	all, err := members(object)
	if err != nil {
		return nil, err
	}
	named := func(m member) bool { return m.name == name }
	switch i := slices.IndexFunc(all, named); {
	case value == nil:
		all = slices.DeleteFunc(all, named)
	case i < 0:
		all = append(all, member{name, value})
	default:
		all[i].value = value
	}
	parts := make([][]byte, len(all))
	for i, m := range all {
		key, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		parts[i] = slices.Concat(key, []byte(":"), m.value)
	}
	return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}")), nil
}
