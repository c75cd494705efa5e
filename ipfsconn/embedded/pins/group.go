package pins

import (
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/disk"
)

// gather is how long the first of a group waits for others.
const gather = 5 * time.Millisecond

// group lets writes that nobody waits for in a hurry share a sync. A tracker that works
// through thousands of pins would otherwise sync the disk for each of them, and the
// cluster's log, which users do wait for, would stand in line behind it.
type group struct {
	db *disk.DB

	mu   sync.Mutex
	open *round // takes in those who come now; nil: none does
}

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

// sync returns once what was written to the database before the call is durable.
func (g *group) sync() error {
	g.mu.Lock()
	r := g.open
	if r == nil {
		r = &round{done: make(chan struct{})}
		g.open = r
		time.AfterFunc(gather, func() { g.end(r) })
	}
	g.mu.Unlock()
	<-r.done
	return r.err
}

// end closes r to others and syncs for those in it.
func (g *group) end(r *round) {
	g.mu.Lock()
	g.open = nil
	g.mu.Unlock()
	r.err = g.db.Sync()
	close(r.done)
}
