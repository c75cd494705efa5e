package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestSizes_AreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]uint64{
		`2097152`: 2 << 20, `"2097152"`: 2 << 20, `"2MiB"`: 2 << 20, `"2 MiB"`: 2 << 20, `"2mib"`: 2 << 20, `"2MB"`: 2e6, `"1.5GiB"`: 3 << 29, `"1TiB"`: 1 << 40, `""`: 0, `null`: 0, `0`: 0,
	} {
		f, _, err := parseFollower(fmt.Appendf(nil, `{"follow":{"capacity":%s},"state":{"cache_bytes":%[1]s}}`, text), nil)
		if err != nil || f.Follow.Capacity != want || want > 0 && f.State.CacheBytes != int64(want) {
			t.Errorf("%s: %d and %d, %v; want %d", text, f.Follow.Capacity, f.State.CacheBytes, err, want)
		}
		said := strings.Trim(text, `"`)
		if f, _, err = parseFollower([]byte("{}"), []string{"CLUSTER_FOLLOW_CAPACITY=" + said}); text != "null" && (err != nil || f.Follow.Capacity != want) {
			t.Errorf("%s in the environment: %d, %v; want %d", said, f.Follow.Capacity, err, want)
		}
	}
	for _, text := range []string{`"2 apples"`, `"GiB"`, `"-2MiB"`, `-2`, `"1,5GiB"`, `"NaNGiB"`, `"1e9"`, `2.5`, `true`, `["2MiB"]`, `"99999999EiB"`} {
		_, _, err := parseFollower(fmt.Appendf(nil, `{"follow":{"capacity":%s}}`, text), nil)
		if err == nil || !strings.Contains(err.Error(), "follow.capacity: ") || !strings.Contains(err.Error(), sizeForm) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, _, err := parseFollower([]byte(`{"state":{"cache_bytes":"9EiB"}}`), nil); err == nil || !strings.Contains(err.Error(), sizeForm) {
		t.Errorf("more than the setting can hold: %v", err)
	}
	if _, _, err := parseFollower([]byte(`{"follow":{"capacity":"2KiB"}}`), nil); err == nil || !strings.Contains(err.Error(), "2048 is not between 1048576 and") {
		t.Errorf("less than may be: %v", err)
	}
	f, _, err := parseFollower([]byte(`{"follow":{"neighbours":"2MiB"}}`), nil)
	if err == nil {
		t.Errorf("a number that is no size: %d", f.Follow.Neighbours)
	}
}

// What is bounded by a number of bytes is a size.
func TestSizes_AreAll(t *testing.T) {
	rate := regexp.MustCompile(`bytes|capacity|bandwidth|storage|reserve|pinset`)
	for _, c := range []any{&Config{}, &Follower{}} {
		for _, k := range keys(reflect.ValueOf(c).Elem(), nil) {
			name := k.path[len(k.path)-1]
			if number := k.field.CanInt() || k.field.CanUint(); isSize(k) != (number && rate.MatchString(name)) {
				t.Errorf("%s is a size: %t", k, isSize(k))
			}
		}
	}
}
