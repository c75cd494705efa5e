package pinner

import "sync"

// locks are held by key while a change of it is on its way into the log.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when let go
}

func newLocks() *locks { return &locks{held: map[string]chan struct{}{}} }

// try takes the lock of key and returns nil, or a channel that closes when it is let go.
func (l *locks) try(key string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ch, ok := l.held[key]; ok {
		return ch
	}
	l.held[key] = make(chan struct{})
	return nil
}

func (l *locks) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[key])
	delete(l.held, key)
}
