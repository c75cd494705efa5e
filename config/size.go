package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// sizeForm tells what a size looks like.
const sizeForm = `a size such as "50GiB" or "200GB", or a whole number of bytes`

// isSize tells whether a setting is a number of bytes.
func isSize(k key) bool {
	name := k.path[len(k.path)-1]
	return strings.HasSuffix(name, "_bytes") || slices.Contains([]string{"capacity", "disk_reserve", "max_bandwidth", "pinset_max", "storage_max"}, name)
}

// ParseSize reads a number of bytes as people write it: 50GiB, 200 GB, 1048576.
func ParseSize(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil && !strings.Contains(s, ",") { // which would count for nothing in 1,5GiB
		n, err = humanize.ParseBytes(s)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not %s", s, sizeForm)
	}
	return n, nil
}

// setSize sets a number of bytes from its text form; "" says nothing.
func setSize(field reflect.Value, s string) error {
	if s == "" {
		return nil
	}
	n, err := ParseSize(s)
	switch {
	case err != nil:
		return err
	case field.CanInt() && n > math.MaxInt64:
		return fmt.Errorf("%q is not %s", s, sizeForm)
	case field.CanInt():
		field.SetInt(int64(n))
	default:
		field.SetUint(n)
	}
	return nil
}
