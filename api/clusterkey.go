package api

import (
	"fmt"
	"io"
)

// ClusterKey is the cluster's key once it has been renewed; the zero value is that of a
// cluster that has its first. Members alone get to see it: it goes through the log.
type ClusterKey struct {
	// Number is how often the key was renewed.
	Number uint64 `cbor:"1,keyasint,omitempty"`
	// Private is the present key, and Renewals lead to it: see package p2p.
	Private  PrivateKey `cbor:"2,keyasint,omitempty"`
	Renewals [][]byte   `cbor:"3,keyasint,omitempty"`
	// Owed tells that there is to be another, since a peer that was removed knows this one.
	Owed bool `cbor:"4,keyasint,omitempty"`
}

// PrivateKey is a key that does not show in logs and messages.
type PrivateKey []byte

// Format implements fmt.Formatter: for every verb it tells nothing.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(private key)") }

// MarshalText implements encoding.TextMarshaler, as Format.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte("(private key)"), nil }
