package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

const jsonType = "application/json"

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// WriteJSON answers 200 with v: compact, a newline at its end, <, > and & escaped.
// The error is that of encoding v; nothing has been written then.
func WriteJSON(w http.ResponseWriter, v any) error {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	WriteLine(w, b.Bytes())
	return nil
}

// WriteLine answers 200 with JSON that is encoded already, its newline included.
func WriteLine(w http.ResponseWriter, line []byte) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(line) // a client that has gone needs no answer
}

// NoContent answers 204.
func NoContent(w http.ResponseWriter) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusNoContent)
}
