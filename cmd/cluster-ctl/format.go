package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pinfold-cluster/pinfold/api"
)

// encoding is how results are printed.
type encoding string

const (
	encText  encoding = "text"  // the incumbent's lines, for people and their scripts
	encTable encoding = "table" // columns; the default on a terminal
	encJSON  encoding = "json"  // an object a line; metrics and alerts are one array
)

// printer prints API objects one after the other in one encoding. Close ends a table.
type printer struct {
	w     io.Writer
	enc   encoding
	table *tabwriter.Writer
}

func newPrinter(w io.Writer, enc encoding) *printer { return &printer{w: w, enc: enc} }

// Close writes what a table still holds back.
func (p *printer) Close() error {
	if p.table == nil {
		return nil
	}
	return p.table.Flush()
}

func (p *printer) json(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// row adds a line to the table, under the header at first.
func (p *printer) row(header string, cells ...string) error {
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.w, 0, 8, 2, ' ', 0)
		if _, err := fmt.Fprintln(p.table, header); err != nil {
			return err
		}
	}
	for i, c := range cells {
		cells[i] = printable(c)
	}
	_, err := fmt.Fprintln(p.table, strings.Join(cells, "\t"))
	return err
}

// printable makes one line of a name or an error and keeps control characters in it
// from reaching a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}

func (p *printer) peer(id api.Peer, names map[string]string) error {
	switch p.enc {
	case encJSON:
		return p.json(id)
	case encTable:
		state, index := id.Role, fmt.Sprint(id.Index)
		if id.Error != "" {
			state, index = "ERROR: "+id.Error, ""
		}
		name := id.PeerName
		if name == "" {
			name = names[id.ID.String()]
		}
		return p.row("PEER\tNAME\tROLE\tINDEX\tADDRESS\tIPFS", id.ID.String(), name, state, index, firstAddress(id.Addresses), id.IPFS.ID.String())
	}
	if id.Error != "" {
		_, err := fmt.Fprintf(p.w, "%s | ERROR: %s\n", id.ID, printable(id.Error))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s | %s | Sees %d other peers\n", id.ID, printable(id.PeerName), max(0, len(id.ClusterPeers)-1))
	b.WriteString("  > Addresses:\n")
	writeAddresses(&b, id.Addresses)
	if id.IPFS.Error != "" {
		fmt.Fprintf(&b, "  > IPFS ERROR: %s\n", printable(id.IPFS.Error))
	} else {
		fmt.Fprintf(&b, "  > IPFS: %s\n", id.IPFS.ID)
		writeAddresses(&b, id.IPFS.Addresses)
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

func writeAddresses(b *strings.Builder, addrs []api.Multiaddr) {
	lines := make([]string, 0, len(addrs))
	for _, a := range addrs {
		lines = append(lines, a.String())
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprintf(b, "    - %s\n", l)
	}
}

func firstAddress(addrs []api.Multiaddr) string {
	if len(addrs) == 0 {
		return ""
	}
	s, _, _ := strings.Cut(addrs[0].String(), "/p2p/")
	return s
}

func (p *printer) pin(pin api.Pin, names map[string]string) error {
	switch p.enc {
	case encJSON:
		return p.json(pin)
	case encTable:
		return p.row("CID\tNAME\tCOPIES\tALLOCATIONS\tSIZE\tEXPIRES\tADDED", pin.Cid.String(), pin.Name,
			factors(pin), allocations(pin, names), size(pin.Size), expiry(pin, "never"), stamp(pin.Timestamp, "unknown"))
	}
	kind := strings.ToUpper(pin.Type.String())
	depth := "Recursive"
	switch {
	case pin.MaxDepth == 0:
		kind, depth = kind+"-DIRECT", "Direct"
	case pin.MaxDepth > 0:
		depth = fmt.Sprintf("Recursive-%d", pin.MaxDepth)
	}
	if pin.Type != api.PinData {
		kind = strings.TrimSuffix(kind, "-DIRECT")
	}
	where := "[everywhere]"
	if !pin.Everywhere() {
		where = fmt.Sprint(slices.Sorted(slices.Values(pin.Allocations)))
	}
	repl := "-1"
	if !pin.Everywhere() {
		repl = fmt.Sprintf("%d--%d", pin.ReplicationFactorMin, pin.ReplicationFactorMax)
	}
	metadata := "no"
	if len(pin.Metadata) > 0 {
		metadata = "yes"
	}
	_, err := fmt.Fprintf(p.w, "%s | %s | %s | Repl. Factor: %s | Allocations: %s | %s | Metadata: %s | Exp: %s | Added: %s\n",
		pin.Cid, printable(pin.Name), kind, repl, where, depth, metadata, expiry(pin, "∞"), stamp(pin.Timestamp, "unknown"))
	return err
}

func factors(pin api.Pin) string {
	switch {
	case pin.Everywhere():
		return "all"
	case pin.ReplicationFactorMin == pin.ReplicationFactorMax:
		return fmt.Sprint(pin.ReplicationFactorMin)
	}
	return fmt.Sprintf("%d-%d", pin.ReplicationFactorMin, pin.ReplicationFactorMax)
}

// allocations lists holders by peer name where it is known.
func allocations(pin api.Pin, names map[string]string) string {
	if pin.Everywhere() {
		return "everywhere"
	}
	out := make([]string, 0, len(pin.Allocations)+len(pin.Leaving))
	for _, id := range pin.Allocations {
		out = append(out, nameOf(id.String(), names))
	}
	for _, id := range pin.Leaving {
		out = append(out, nameOf(id.String(), names)+" (leaving)")
	}
	return strings.Join(out, ", ")
}

func nameOf(id string, names map[string]string) string {
	if n := names[id]; n != "" {
		return n
	}
	return id
}

func size(n uint64) string {
	if n == 0 {
		return ""
	}
	return humanize.IBytes(n)
}

func expiry(pin api.Pin, never string) string {
	if !pin.Expires() {
		return never
	}
	return pin.ExpireAt.Format(time.DateTime)
}

func stamp(t time.Time, unknown string) string {
	if t.IsZero() {
		return unknown
	}
	return t.Format(time.DateTime)
}

func (p *printer) status(g api.GlobalPinInfo) error {
	switch p.enc {
	case encJSON:
		return p.json(g)
	case encTable:
		if err := p.statusRows(g, g.PeerMap, ""); err != nil {
			return err
		}
		return p.statusRows(g, g.Followers, "follower ")
	}
	var b strings.Builder
	b.WriteString(g.Cid.String())
	if g.Name != "" {
		b.WriteString(" | " + printable(g.Name))
	}
	b.WriteString(":\n")
	statusLines(&b, g.PeerMap)
	if len(g.Followers) > 0 {
		b.WriteString("  followers, as they say:\n")
		statusLines(&b, g.Followers)
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// statusRows writes a row a peer, the peer's name behind kind.
func (p *printer) statusRows(g api.GlobalPinInfo, peers map[string]api.PinInfoShort, kind string) error {
	names := distinctNames(peers)
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		s := peers[id]
		next := ""
		if !s.NextTry.IsZero() {
			next = s.NextTry.Local().Format(time.TimeOnly)
		}
		if err := p.row("CID\tNAME\tPEER\tSTATUS\tPROGRESS\tATTEMPTS\tNEXT TRY\tREASON", g.Cid.String(), g.Name, kind+names[id],
			strings.ToUpper(s.Status.String()), progress(s), fmt.Sprint(s.AttemptCount), next, reason(s)); err != nil {
			return err
		}
	}
	return nil
}

// statusLines writes a line a peer.
func statusLines(b *strings.Builder, peers map[string]api.PinInfoShort) {
	names := distinctNames(peers)
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		s := peers[id]
		fmt.Fprintf(b, "    > %-20s : %s", names[id], strings.ToUpper(s.Status.String()))
		if s.Error != "" {
			fmt.Fprintf(b, ": %s", printable(s.Error))
		}
		fmt.Fprintf(b, " | %s | Attempts: %d | Priority: %t", s.Timestamp.Format(time.RFC3339Nano), s.AttemptCount, s.PriorityPin)
		if !s.NextTry.IsZero() {
			fmt.Fprintf(b, " | Next try: %s", s.NextTry.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
}

// distinctNames are the peers' names, by ID, with the end of the ID where several have the same.
func distinctNames(peers map[string]api.PinInfoShort) map[string]string {
	all, n := map[string]string{}, map[string]int{}
	for id, s := range peers {
		all[id] = printable(cmp.Or(s.PeerName, id))
		n[all[id]]++
	}
	for id, name := range all {
		if n[name] > 1 {
			all[id] = fmt.Sprintf("%s (%s)", name, shortID(id))
		}
	}
	return all
}

func progress(s api.PinInfoShort) string {
	if s.Bytes == 0 {
		return ""
	}
	if s.Rate == 0 {
		return humanize.IBytes(s.Bytes)
	}
	return humanize.IBytes(s.Bytes) + " at " + humanize.IBytes(s.Rate) + "/s"
}

func reason(s api.PinInfoShort) string {
	switch {
	case s.Cause == "":
		return s.Error
	case s.Error == "":
		return string(s.Cause)
	}
	return string(s.Cause) + ": " + s.Error
}

func (p *printer) metric(m api.Metric, names map[string]string, now time.Time) error {
	value := m.Value
	if m.Name == "freespace" {
		value = humanize.Bytes(uint64(max(0, m.Weight)))
	}
	expires := humanize.RelTime(time.Unix(0, m.Expire), now, "ago", "from now")
	if p.enc == encTable {
		return p.row("PEER\tMETRIC\tVALUE\tEXPIRES", nameOf(m.Peer.String(), names), m.Name, value, expires)
	}
	_, err := fmt.Fprintf(p.w, "%s | %s: %s | Expires in: %s\n", m.Peer, m.Name, printable(value), expires)
	return err
}

func (p *printer) alert(a api.Alert, names map[string]string, now time.Time) error {
	expired := humanize.RelTime(time.Unix(0, a.Expire), now, "ago", "from now")
	triggered := humanize.RelTime(a.TriggeredAt, now, "ago", "from now")
	if p.enc == encTable {
		return p.row("PEER\tMETRIC\tEXPIRED\tTRIGGERED", nameOf(a.Peer.String(), names), a.Name, expired, triggered)
	}
	_, err := fmt.Fprintf(p.w, "%s: %s. Expired at: %s. Triggered at: %s\n", a.Peer, a.Name, expired, triggered)
	return err
}
