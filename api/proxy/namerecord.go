package proxy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	pb "github.com/ipfs/boxo/ipns/pb"
	"google.golang.org/protobuf/proto"

	"github.com/pinfold-cluster/pinfold/api"
)

var nameRecordCommands = []*command{
	{path: "name/inspect", run: (*call).nameInspect, args: []argument{{name: "record", file: true}}, options: []option{
		opt(text, "verify"), opt(boolean, "dump").or(true),
	}},
	{path: "name/get", run: (*call).nameGet, args: []argument{{name: "name"}}},
	{path: "name/put", run: (*call).namePut, args: []argument{{name: "name"}, {name: "record", file: true}}, options: []option{
		opt(boolean, "force", "f"), opt(boolean, "allow-offline"), opt(boolean, "allow-delegated"), opt(boolean, "quiet", "q"),
	}},
}

// maxRecord bounds a record of IPNS, in bytes, as its specification does.
const maxRecord = 10 << 10

// inspectedRecord tells what a record says, and whether it is valid where that was asked.
type inspectedRecord struct {
	Entry         inspectedEntry
	PbSize        int
	SignatureType string
	HexDump       string
	Validation    *validated
}

type inspectedEntry struct {
	Value        string
	ValidityType *ipns.ValidityType
	Validity     *time.Time
	Sequence     *uint64
	TTL          *time.Duration
}

type validated struct {
	Valid  bool
	Reason string
	Name   string
}

// known gives a value that could be read.
func known[T any](v T, err error) *T {
	if err != nil {
		return nil
	}
	return &v
}

func (c *call) nameInspect() error {
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	rec, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	out := inspectedRecord{Entry: inspectedEntry{ValidityType: known(rec.ValidityType()), Validity: known(rec.Validity()),
		Sequence: known(rec.Sequence()), TTL: known(rec.TTL())}}
	if v, err := rec.Value(); err == nil {
		out.Entry.Value = v.String()
	}
	var raw pb.IpnsRecord
	if err := proto.Unmarshal(data, &raw); err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	out.PbSize, out.SignatureType = proto.Size(&raw), "Unknown"
	switch {
	case len(raw.GetSignatureV1()) > 0 || len(raw.GetValue()) > 0:
		out.SignatureType = "V1+V2"
	case raw.Data != nil:
		out.SignatureType = "V2"
	}
	if c.given("verify") {
		name, err := ipns.NameFromString(c.text("verify"))
		if err != nil {
			return api.Invalid.Errorf("%w", err)
		}
		out.Validation = &validated{Name: name.String()}
		if err := ipns.ValidateWithName(rec, name); err != nil {
			out.Validation.Reason = err.Error()
		} else {
			out.Validation.Valid = true
		}
	}
	if c.boolean("dump") {
		out.HexDump = hex.Dump(data)
	}
	return c.once(out)
}

// parseName reads the name of a record, with /ipns/ in front or not.
func parseName(s string) (ipns.Name, error) {
	n, err := ipns.NameFromString(strings.TrimPrefix(s, "/ipns/"))
	if err != nil {
		return n, api.Invalid.Errorf("failed to parse peer ID: %w", err)
	}
	return n, nil
}

// rawRecord gives the valid record of a name that this node knows, as bytes.
func (c *call) rawRecord(n ipns.Name) ([]byte, error) {
	if _, err := c.record(n); errors.Is(err, errNoName) {
		return nil, api.NotFound.Errorf("routing: not found")
	} else if err != nil {
		return nil, err
	}
	return c.Node.GetName(n.Peer())
}

func (c *call) nameGet() error {
	n, err := parseName(c.args[0])
	if err != nil {
		return err
	}
	raw, err := c.rawRecord(n)
	if err != nil {
		return err
	}
	return c.copy(bytes.NewReader(raw), "application/vnd.ipfs.ipns-record")
}

// namePut keeps a record that was signed elsewhere. One that is not valid is not kept,
// with force either: a gateway could not serve it.
func (c *call) namePut() error {
	n, err := parseName(c.args[0])
	if err != nil {
		return err
	}
	switch {
	case c.boolean("allow-offline") && c.boolean("allow-delegated"):
		return api.Invalid.Errorf("cannot use both --allow-offline and --allow-delegated flags")
	case c.boolean("allow-delegated"):
		return api.Invalid.Errorf("no delegated publishers configured: add Ipns.DelegatedPublishers or use --allow-offline for local-only publishing")
	}
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	rec, err := c.putRecord(n, data)
	if err != nil {
		return err
	}
	value, err := rec.Value()
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	return c.once(struct{ Name, Value string }{n.String(), value.String()})
}

// putRecord keeps a valid record that is no older than the one that is known.
func (c *call) putRecord(n ipns.Name, data []byte) (*ipns.Record, error) {
	if len(data) == 0 {
		return nil, api.Invalid.Errorf("record is empty")
	}
	if len(data) > maxRecord {
		return nil, api.TooLarge.Errorf("record exceeds maximum size of %d bytes", maxRecord)
	}
	rec, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return nil, api.Invalid.Errorf("invalid IPNS record: %w", err)
	}
	if err := ipns.ValidateWithName(rec, n); err != nil {
		return nil, api.Invalid.Errorf("record validation failed: %w", err)
	}
	last, err := c.record(n)
	if err != nil && !errors.Is(err, errNoName) {
		return nil, err
	}
	if err == nil {
		have, err := last.Sequence()
		if err != nil {
			return nil, err
		}
		seq, err := rec.Sequence()
		if err != nil {
			return nil, api.Invalid.Errorf("%w", err)
		}
		old, err := c.Node.GetName(n.Peer())
		if err != nil {
			return nil, err
		}
		if have >= seq && !bytes.Equal(old, data) && !c.boolean("force") {
			return nil, api.Conflict.Errorf("existing IPNS record has sequence %d >= new record sequence %d, use 'ipfs name put --force' to skip this check", have, seq)
		}
	}
	return rec, c.Node.PutName(n.Peer(), data)
}
