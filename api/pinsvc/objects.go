package pinsvc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Bounds of the specification, and those of a record and of this door.
const (
	maxBody    = 64 << 10 // bytes; a record takes 16 KiB
	maxName    = 255      // characters
	maxOrigins = 20
	maxMeta    = 1000 // pairs
	maxCid     = 256  // bytes of a CID, which is the key of its record
)

// pinObject is the specification's Pin.
type pinObject struct {
	Cid     api.Cid           `json:"cid"`
	Name    string            `json:"name,omitempty"`
	Origins []api.Multiaddr   `json:"origins,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
}

// pinStatus is the specification's PinStatus.
type pinStatus struct {
	RequestID string            `json:"requestid"`
	Status    status            `json:"status"`
	Created   time.Time         `json:"created"`
	Pin       pinObject         `json:"pin"`
	Delegates []string          `json:"delegates"`
	Info      map[string]string `json:"info,omitempty"`
}

// pinResults is the specification's PinResults.
type pinResults struct {
	Count   int         `json:"count"`
	Results []pinStatus `json:"results"`
}

// readPin reads the body of r. The error is Invalid or TooLarge.
func readPin(w http.ResponseWriter, r *http.Request) (pinObject, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	text, err := io.ReadAll(web.NewBody(w, r))
	if err != nil {
		return pinObject{}, err
	}
	return parsePin(text)
}

// parsePin reads a Pin and checks it as far as one peer alone can.
func parsePin(text []byte) (p pinObject, err error) {
	if !utf8.Valid(text) {
		return p, api.Invalid.Errorf("the body is not UTF-8")
	}
	var in struct {
		Cid     *string           `json:"cid"`
		Name    string            `json:"name"`
		Origins []string          `json:"origins"`
		Meta    map[string]string `json:"meta"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&in); err != nil {
		if errors.Is(err, io.EOF) {
			return p, api.Invalid.Errorf(`the body is empty: send a Pin object, such as {"cid": "bafy..."}`)
		}
		var wrong *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrong) && wrong.Field == "":
			return p, api.Invalid.Errorf("the body is no Pin object: it is a JSON %s", wrong.Value)
		case errors.As(err, &wrong):
			return p, api.Invalid.Errorf("the body is no Pin object: %q cannot be a JSON %s", wrong.Field, wrong.Value)
		}
		return p, api.Invalid.Errorf("the body is no Pin object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, api.Invalid.Errorf("the body goes on after the Pin object")
	}
	if in.Cid == nil || *in.Cid == "" {
		return p, api.Invalid.Errorf("the Pin object has no cid")
	}
	if p.Cid, err = readCid(*in.Cid); err != nil {
		return p, err
	}
	if n := utf8.RuneCountInString(in.Name); n > maxName {
		return p, api.Invalid.Errorf("the name has %d characters; at most %d are allowed", n, maxName)
	}
	p.Name = in.Name
	if len(in.Origins) > maxOrigins {
		return p, api.Invalid.Errorf("there are %d origins; at most %d are allowed", len(in.Origins), maxOrigins)
	}
	seen := map[string]bool{}
	for _, s := range in.Origins {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return p, api.Invalid.Errorf("origin %q is no multiaddr: %w", s, err)
		}
		if _, err := peer.AddrInfoFromP2pAddr(a); err != nil {
			return p, api.Invalid.Errorf("origin %q does not end with /p2p/ and a peer ID", s)
		}
		if seen[a.String()] {
			return p, api.Invalid.Errorf("origin %q is there twice", s)
		}
		seen[a.String()] = true
		p.Origins = append(p.Origins, a)
	}
	if p.Meta, err = checkMeta(in.Meta); err != nil {
		return p, err
	}
	return p, nil
}

func checkMeta(meta map[string]string) (map[string]string, error) {
	if len(meta) > maxMeta {
		return nil, api.Invalid.Errorf("meta has %d pairs; at most %d are allowed", len(meta), maxMeta)
	}
	if _, empty := meta[""]; empty {
		return nil, api.Invalid.Errorf("a key of meta is empty")
	}
	if len(meta) == 0 {
		return nil, nil
	}
	return meta, nil
}

func readCid(s string) (api.Cid, error) {
	c, err := api.ParseCid(s)
	if err != nil {
		return c, api.Invalid.Errorf("cid %.80q cannot be read: %w", s, err)
	}
	if c.ByteLen() > maxCid {
		return c, api.Invalid.Errorf("the cid has %d bytes; at most %d are allowed", c.ByteLen(), maxCid)
	}
	return c, nil
}

// objectOf shows r, one of p's requests, with its status s and those of the known
// addresses that are its holders'.
func objectOf(p api.Pin, r api.PinRequest, s progress, known map[api.PeerID][]api.Multiaddr) pinStatus {
	return pinStatus{
		RequestID: p.RequestName(r),
		Status:    s.status,
		Created:   p.RequestTime(r),
		Pin:       pinObject{Cid: p.Cid, Name: r.Name, Origins: r.Origins, Meta: r.Metadata},
		Delegates: delegates(p, known),
		Info:      s.info(),
	}
}

// accepted answers 202.
func accepted(w http.ResponseWriter, s pinStatus) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
	return nil
}
