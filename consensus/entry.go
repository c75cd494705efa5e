package consensus

import (
	"github.com/pinfold-cluster/pinfold/api"
)

// An entry of the log is one byte of version and then an array of api.Op in
// deterministic CBOR. A field that changes what applying does needs a new version, as
// an older peer would pass over it.
const (
	entryVersion = 1

	maxEntryOps   = 256
	maxEntryBytes = 64 << 10

	// What a peer still reads, so that a later version may write more.
	decodableOps   = 16 * maxEntryOps
	decodableBytes = 16 * maxEntryBytes
)

// joinOps makes an entry of encoded changes: the same bytes as api.Encode gives for
// them in one array, without encoding any again.
func joinOps(ops [][]byte) []byte {
	size := 4
	for _, op := range ops {
		size += len(op)
	}
	entry := append(make([]byte, 0, size), entryVersion)
	switch n := len(ops); { // the head of a CBOR array
	case n < 24:
		entry = append(entry, 0x80|byte(n))
	case n < 256:
		entry = append(entry, 0x98, byte(n))
	default:
		entry = append(entry, 0x99, byte(n>>8), byte(n))
	}
	for _, op := range ops {
		entry = append(entry, op...)
	}
	return entry
}

// decodeEntry reads an entry. The error is Unsupported for a version that this peer
// does not know, else Invalid.
func decodeEntry(data []byte) ([]api.Op, error) {
	switch {
	case len(data) == 0:
		return nil, api.Invalid.Errorf("log entry is empty")
	case data[0] != entryVersion:
		return nil, api.Unsupported.Errorf("log entry has version %d, this peer knows %d", data[0], entryVersion)
	case len(data) > decodableBytes:
		return nil, api.Invalid.Errorf("log entry has %d bytes", len(data))
	}
	var ops []api.Op
	if err := api.Decode(data[1:], &ops); err != nil {
		return nil, err
	}
	if len(ops) > decodableOps {
		return nil, api.Invalid.Errorf("log entry has %d changes", len(ops))
	}
	for i, op := range ops {
		if err := checkOp(op); err != nil {
			return nil, api.Invalid.Errorf("change %d of log entry: %w", i, err)
		}
	}
	return ops, nil
}

// checkOp tells whether op has what its type needs. The error is Invalid, or Unsupported
// for a type that this peer does not know.
func checkOp(op api.Op) error {
	switch op.Type {
	case api.OpPin:
		if op.Pin == nil || !op.Pin.Cid.Defined() {
			return api.Invalid.Errorf("pin without a CID")
		}
	case api.OpUnpin:
		if !op.Cid.Defined() {
			return api.Invalid.Errorf("unpin without a CID")
		}
	case api.OpSession:
		if op.Peer == "" || op.Session == 0 {
			return api.Invalid.Errorf("session without a peer or a number")
		}
	case api.OpJoin:
		if op.Member == nil || op.Member.ID == "" {
			return api.Invalid.Errorf("join without a member")
		}
	case api.OpRemove:
		if op.Peer == "" {
			return api.Invalid.Errorf("remove without a peer")
		}
	case api.OpRevoke:
		if len(op.Credential) == 0 {
			return api.Invalid.Errorf("revocation of nothing")
		}
	case api.OpOweKey:
	case api.OpRenewKey:
		if op.Key == nil || op.Key.Number == 0 || len(op.Key.Private) == 0 {
			return api.Invalid.Errorf("renewal of the cluster's key without one")
		}
	default:
		return api.Unsupported.Errorf("change of type %d", op.Type)
	}
	if op.Session != 0 && op.Type != api.OpSession && (op.Peer == "" || op.Seq == 0) {
		return api.Invalid.Errorf("change in a session without a peer or a number")
	}
	return nil
}
