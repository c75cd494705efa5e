package api

// The values of BulkOp.Op. An absent one is a pin.
const (
	BulkPin   = "pin"
	BulkUnpin = "unpin"
)

// BulkOp is one line of a bulk request: a pin object of which only the CID is
// required, to be pinned with those options or unpinned. Other keys of a pin object
// are ignored, so that an export's lines can be sent as they are; a line with any
// further key is refused.
type BulkOp struct {
	Op   string  `json:"op,omitempty"`
	Cid  Cid     `json:"cid"`
	Type PinType `json:"type,omitempty"` // PinData, if anything
	PinOptions
}

// BulkResult is one line of a bulk request's answer. Lines are answered in order,
// blank ones not at all.
type BulkResult struct {
	Line  int    `json:"line"` // that of the request, from 1
	Cid   Cid    `json:"cid"`  // null where the line could not be read
	Index uint64 `json:"index,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// Invitation is the answer to a peer invitation.
type Invitation struct {
	Token string `json:"token"`
}

// Count answers a request for the number of rows of a list.
type Count struct {
	Count uint64 `json:"count"`
}

// CursorHeader carries, in the answer with a page of a list, what the request for the
// next one gives as cursor. It is there only where more may follow.
const CursorHeader = "X-Pinfold-Cursor"

// IndexHeader carries, in a write's answer, the log index of the change (a streamed add
// has it as a trailer), and in that of GET /allocations the one of the state listed.
const IndexHeader = "X-Pinfold-Index"

// StreamErrorTrailer carries, after a streamed answer, what ended it early; it is
// empty where nothing did.
const StreamErrorTrailer = "X-Stream-Error"

// StreamCodeTrailer carries the status of what X-Stream-Error tells of, a decimal: the
// code that the answer would have had if nothing had been sent yet. It is there only
// where there was an error, and not announced in the Trailer header, which is the
// incumbent's.
const StreamCodeTrailer = "X-Pinfold-Error-Code"
