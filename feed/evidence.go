package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// evidenceFile is where a follower keeps what stopped it.
const evidenceFile = "evidence.json"

// Evidence is two signed statements of which one must be wrong, or one that cannot be
// right. A follower that has come by it stays where it is.
type Evidence struct {
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
	// First is what was believed before; empty where that is this follower's own state.
	First  Exhibit `json:"first,omitzero"`
	Second Exhibit `json:"second"`
	// Key is the number of the cluster's key that they are about: then they are renewals,
	// which name no signer. 0: they are statements.
	Key uint64 `json:"key,omitempty"`
}

// An Exhibit is a statement and who signed it.
type Exhibit struct {
	Signer    api.PeerID `json:"signer,omitzero"` // "": of a renewal
	Statement []byte     `json:"statement"`       // see p2p.Statement
}

func exhibit(m message) Exhibit { return Exhibit{Signer: m.signer, Statement: m.raw} }

// stop keeps the evidence and goes no further. The caller holds mu.
func (f *Follower) stop(first, second message, reason string) error {
	e := &Evidence{Reason: reason, Time: time.Now().UTC().Truncate(time.Second), Second: exhibit(second)}
	if len(first.raw) > 0 {
		e.First = exhibit(first)
		e.Reason = fmt.Sprintf("%s; signed by %s and by %s", reason, first.signer, second.signer)
	} else {
		e.Reason = fmt.Sprintf("%s; signed by %s", reason, second.signer)
	}
	f.evidence = e
	f.log.Error("this follower stops: members contradict each other, or one lies", "reason", e.Reason)
	return e.save(filepath.Join(f.dir, evidenceFile))
}

func (e *Evidence) save(file string) error {
	data, err := json.MarshalIndent(e, "", "    ")
	if err != nil {
		return err
	}
	if err := writeFile(file, append(data, '\n')); err != nil {
		return fmt.Errorf("keep evidence: %w", err)
	}
	return nil
}

// loadEvidence reads what save wrote, nil where there is none.
func loadEvidence(file string) (*Evidence, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &Evidence{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// putAside keeps the last file of evidence under another name.
func putAside(file string) error {
	err := os.Rename(file, file+".old")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(filepath.Dir(file)))
}

// writeFile puts data under the name file, whole or not at all, on disk when it returns.
func writeFile(file string, data []byte) error {
	tmp := file + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return errors.Join(os.Rename(tmp, file), syncDir(filepath.Dir(file)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
