package pinsvc

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// status is the specification's Status.
type status string

const (
	queued  status = "queued"
	pinning status = "pinning"
	pinned  status = "pinned"
	failed  status = "failed"
)

var allStatuses = []status{queued, pinning, pinned, failed}

// maxDetails bounds info.status_details, in bytes.
const maxDetails = 500

const (
	// askTimeout bounds the wait for peers to tell how far one pin is.
	askTimeout = 2 * time.Second
	// patience is how many attempts in vain make a pin failed. It is tried on, ever more
	// rarely, and pinned should it come yet.
	patience = 5
)

// permanent are causes that another attempt does not mend.
var permanent = []api.Cause{api.CauseDiskFull, api.CauseTooBig, api.CauseBadBlock}

// progress is how far a pin is, and what more there is to tell of that.
type progress struct {
	status  status
	details string
	size    uint64 // bytes of the DAG, 0 where nobody knows
}

// info is the specification's StatusInfo; nil where there is nothing to tell.
func (p progress) info() map[string]string {
	info := map[string]string{}
	if p.details != "" {
		info["status_details"] = p.details
	}
	if p.size > 0 {
		info["dag_size"] = strconv.FormatUint(p.size, 10)
	}
	if len(info) == 0 {
		return nil
	}
	return info
}

// report is what one of a pin's holders says of it.
type report struct {
	status   api.TrackerStatus
	attempts int
	cause    api.Cause
	text     string // why it failed
	next     time.Time
}

// judge says how far p is by what those who are to hold it report. Pinned are enough
// copies: of a pin with a least number of copies that many, of one that is everywhere
// those of more than half of the peers that can be asked.
func judge(p api.Pin, reports []report) progress {
	out := progress{size: p.Size}
	var copies, arriving, waiting, silent int
	var trouble []string
	var hopeless bool
	for _, r := range reports {
		switch r.status {
		case api.StatusPinned:
			copies++
		case api.StatusPinning:
			arriving++
		case api.StatusClusterError:
			silent++
		case api.StatusPinError:
			trouble = append(trouble, r.reason())
			if r.attempts < patience && !slices.Contains(permanent, r.cause) {
				waiting++
			} else {
				hopeless = true
			}
		default: // it waits, or does not know of it yet
			waiting++
		}
	}
	need := p.ReplicationFactorMin
	if p.Everywhere() {
		need = (len(reports)-silent)/2 + 1
	}
	slices.Sort(trouble)
	out.details = strings.Join(slices.Compact(trouble), "; ")
	switch {
	case copies >= need && copies > 0:
		out.status, out.details = pinned, ""
	case arriving > 0:
		out.status = pinning
	case waiting > 0 || !hopeless:
		out.status = queued
	default:
		out.status = failed
	}
	if silent > 0 && out.status != pinned {
		out.details = strings.TrimPrefix(out.details+"; "+strconv.Itoa(silent)+" of the peers that hold it do not answer", "; ")
	}
	if len(out.details) > maxDetails {
		out.details = strings.ToValidUTF8(out.details[:maxDetails], "") + "..."
	}
	return out
}

// reason is what a client reads of a failed attempt.
func (r report) reason() string {
	text := r.text
	if r.cause != "" && r.cause != api.CauseOther {
		text = fmt.Sprintf("%s: %s", r.cause, r.text)
	}
	if !r.next.IsZero() {
		text += ", next try at " + r.next.UTC().Format(time.RFC3339)
	}
	return text
}

// now asks those who are to hold p how far they are. Where that cannot be found out it
// is queued: nobody is told that a pin is there that may not be.
func (h *handler) now(ctx context.Context, p api.Pin) progress {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := h.Tracker.Status(ctx, p.Cid)
	if err != nil {
		return progress{status: queued, details: "the peers cannot be asked: " + err.Error(), size: p.Size}
	}
	var reports []report
	for _, s := range info.PeerMap {
		if s.Status.Match(api.StatusRemote | api.StatusSharded) {
			continue
		}
		reports = append(reports, report{status: s.Status, attempts: s.AttemptCount, cause: s.Cause, text: s.Error, next: s.NextTry})
	}
	return judge(p, reports)
}

// maxDelegates is the specification's bound.
const maxDelegates = 20

// delegates are the addresses of those who are to hold p, at most 20 and each once: of
// all of them first one, then another.
func delegates(p api.Pin, known map[api.PeerID][]api.Multiaddr) []string {
	var lists [][]api.Multiaddr
	for id, addrs := range known {
		if p.HeldBy(id) {
			lists = append(lists, addrs)
		}
	}
	if len(lists) == 0 { // its holders are not known yet
		for _, addrs := range known {
			lists = append(lists, addrs)
		}
	}
	out := []string{}
	for i, more := 0, true; more && len(out) < maxDelegates; i++ {
		more = false
		for _, addrs := range lists {
			if i >= len(addrs) || len(out) == maxDelegates {
				continue
			}
			more = true
			if a := addrs[i].String(); !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	slices.Sort(out)
	return out
}
