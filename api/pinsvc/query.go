package pinsvc

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	defaultLimit = 10
	maxLimit     = 1000
	maxCids      = 10
)

// match is the specification's TextMatchingStrategy.
type match string

const (
	exact    match = "exact"
	iexact   match = "iexact"
	partial  match = "partial"
	ipartial match = "ipartial"
)

// query is what a list is of.
type query struct {
	cids          []api.Cid
	name          string
	match         match
	statuses      []status // none: all
	before, after time.Time
	meta          map[string]string
	limit         int
}

var known = []string{"cid", "name", "match", "status", "before", "after", "limit", "meta"}

// parseQuery reads the parameters of a list. Without any filter it is of what is pinned.
// The error is Invalid.
func parseQuery(raw string) (query, error) {
	q := query{match: exact, limit: defaultLimit}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, api.Invalid.Errorf("the query cannot be read: %w", err)
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			return q, api.Invalid.Errorf("unknown parameter %.80q; known are %s", name, strings.Join(known, ", "))
		}
		if len(list) > 1 && name != "cid" && name != "status" {
			return q, api.Invalid.Errorf("parameter %s is there %d times", name, len(list))
		}
		for _, v := range list {
			if !utf8.ValidString(v) {
				return q, api.Invalid.Errorf("parameter %s is not UTF-8", name)
			}
		}
	}
	for _, read := range []func(url.Values) error{q.readCids, q.readName, q.readStatuses, q.readTimes, q.readLimit, q.readMeta} {
		if err := read(values); err != nil {
			return q, err
		}
	}
	if len(q.cids) == 0 && !values.Has("name") && len(q.statuses) == 0 && q.before.IsZero() && q.after.IsZero() && len(q.meta) == 0 {
		q.statuses = []status{pinned}
	}
	return q, nil
}

// items are the parts of a parameter that is given several times, or as a list with
// commas: clients do both.
func items(values url.Values, name string) (list []string) {
	for _, v := range values[name] {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

func (q *query) readCids(values url.Values) error {
	list := items(values, "cid")
	if values.Has("cid") && len(list) == 0 {
		return api.Invalid.Errorf("parameter cid is empty")
	}
	if len(list) > maxCids {
		return api.Invalid.Errorf("parameter cid has %d CIDs; at most %d are allowed", len(list), maxCids)
	}
	for _, s := range list {
		c, err := readCid(s)
		if err != nil {
			return err
		}
		if !slices.Contains(q.cids, c) {
			q.cids = append(q.cids, c)
		}
	}
	return nil
}

func (q *query) readName(values url.Values) error {
	q.name = values.Get("name")
	if n := utf8.RuneCountInString(q.name); n > maxName {
		return api.Invalid.Errorf("parameter name has %d characters; at most %d are allowed", n, maxName)
	}
	if m := match(values.Get("match")); values.Has("match") {
		if !slices.Contains([]match{exact, iexact, partial, ipartial}, m) {
			return api.Invalid.Errorf("parameter match is %.80q; it must be exact, iexact, partial or ipartial", m)
		}
		q.match = m
	}
	return nil
}

func (q *query) readStatuses(values url.Values) error {
	list := items(values, "status")
	if values.Has("status") && len(list) == 0 {
		return api.Invalid.Errorf("parameter status is empty")
	}
	for _, s := range list {
		if !slices.Contains(allStatuses, status(s)) {
			return api.Invalid.Errorf("parameter status has %.80q; it must be of queued, pinning, pinned and failed", s)
		}
		if !slices.Contains(q.statuses, status(s)) {
			q.statuses = append(q.statuses, status(s))
		}
	}
	return nil
}

func (q *query) readTimes(values url.Values) error {
	for name, to := range map[string]*time.Time{"before": &q.before, "after": &q.after} {
		if !values.Has(name) {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, values.Get(name))
		if err != nil {
			return api.Invalid.Errorf("parameter %s is %.80q; it must be a time as of RFC 3339, such as 2026-11-21T08:30:00.5Z", name, values.Get(name))
		}
		if *to = t.UTC(); to.IsZero() {
			*to = to.Add(1) // the year 1 is a bound as good as any
		}
	}
	return nil
}

func (q *query) readLimit(values url.Values) error {
	if !values.Has("limit") {
		return nil
	}
	n, err := strconv.Atoi(values.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return api.Invalid.Errorf("parameter limit is %.80q; it must be a number from 1 to %d", values.Get("limit"), maxLimit)
	}
	q.limit = n
	return nil
}

func (q *query) readMeta(values url.Values) error {
	if !values.Has("meta") {
		return nil
	}
	var meta map[string]string
	if err := json.Unmarshal([]byte(values.Get("meta")), &meta); err != nil {
		return api.Invalid.Errorf(`parameter meta is no JSON object of strings, such as {"app_id": "99"}: %w`, err)
	}
	var err error
	q.meta, err = checkMeta(meta)
	return err
}

// wants tells whether a status passes.
func (q *query) wants(s status) bool { return len(q.statuses) == 0 || slices.Contains(q.statuses, s) }

// anyStatus tells whether all statuses pass.
func (q *query) anyStatus() bool { return len(q.statuses) == 0 || len(q.statuses) == len(allStatuses) }

// byTimeOnly tells whether names and metadata do not matter.
func (q *query) byTimeOnly() bool { return q.name == "" && len(q.meta) == 0 && len(q.cids) == 0 }

// matches tells whether r, made at that time, passes, whatever its status.
func (q *query) matches(r api.PinRequest, at time.Time) bool {
	if !q.before.IsZero() && !at.Before(q.before) || !q.after.IsZero() && !at.After(q.after) {
		return false
	}
	if q.name != "" && !q.match.matches(r.Name, q.name) {
		return false
	}
	for k := range maps.Keys(q.meta) {
		if v, ok := r.Metadata[k]; !ok || v != q.meta[k] {
			return false
		}
	}
	return true
}

func (m match) matches(name, asked string) bool {
	switch m {
	case iexact:
		return strings.EqualFold(name, asked)
	case partial:
		return strings.Contains(name, asked)
	case ipartial:
		return strings.Contains(strings.ToLower(name), strings.ToLower(asked))
	default:
		return name == asked
	}
}
