package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// GetPage asks one server for a page. It ends with its context, reads no more than
// MaxPage+1 bytes, and is called from several goroutines.
type GetPage func(ctx context.Context, h Hash) ([]byte, error)

const (
	serverSlots = streamsFew   // pages asked of one server at once, at most: a busy one answers no more
	serverTries = 4            // to get one page, at once
	pageTimeout = 4 * pageTime // for one, with the wait for its turn behind other workers
)

// servers share the pages to be fetched: each gets the next one as it is done with
// another, so the quick ones give most. One that fails is not asked again.
type servers struct {
	free chan *server  // one entry for each page that may be asked for
	none chan struct{} // closed when all have failed

	mu   sync.Mutex
	left int
	errs []error
}

type server struct {
	get    GetPage
	failed bool // guarded by servers.mu
}

func newServers(get []GetPage) *servers {
	slots := min(serverSlots, (syncWorkers+len(get)-1)/max(len(get), 1)) // with more, slow ones would be asked as often as quick ones
	s := &servers{free: make(chan *server, slots*len(get)), none: make(chan struct{}), left: len(get)}
	all := make([]*server, len(get))
	for i := range get {
		all[i] = &server{get: get[i]}
	}
	for range slots {
		for _, v := range all {
			s.free <- v
		}
	}
	if len(get) == 0 {
		close(s.none)
	}
	return s
}

// page gets a page, its hash checked, from whoever has it. One that takes hedgeAfter is
// not waited for alone. The error is Unavailable when no server is left, or the context's.
func (s *servers) page(ctx context.Context, h Hash) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel()
	type result struct {
		page []byte
		err  error
	}
	results := make(chan result, serverTries)
	try := func() {
		b, err := s.try(ctx, h)
		results <- result{b, err}
	}
	tries.Go(try)
	late := time.NewTicker(hedgeAfter)
	defer late.Stop()
	for begun, ended := 1, 0; ; {
		select {
		case r := <-results:
			if ended++; r.err == nil || begun == ended || api.KindOf(r.err) == api.Unavailable {
				return r.page, r.err
			}
		case <-late.C:
			if begun < serverTries {
				begun++
				tries.Go(try)
			}
		}
	}
}

// try asks one server after the other, until one has the page.
func (s *servers) try(ctx context.Context, h Hash) ([]byte, error) {
	for {
		v, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		b, err := v.page(ctx, h)
		if err == nil || ctx.Err() != nil { // or another was quicker
			s.free <- v
		}
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.drop(v, err)
	}
}

// take returns a server that may be asked.
func (s *servers) take(ctx context.Context) (*server, error) {
	for {
		select {
		case v := <-s.free:
			if s.good(v) {
				return v, nil
			}
		case <-s.none:
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, api.Unavailable.Errorf("no server of pages is left: %v", errors.Join(s.errs...))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *servers) good(v *server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !v.failed
}

func (s *servers) drop(v *server, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.failed {
		return
	}
	v.failed = true
	s.errs = append(s.errs, err)
	if s.left--; s.left == 0 {
		close(s.none)
	}
}

func (v *server) page(ctx context.Context, h Hash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	b, err := v.get(ctx, h)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxPage {
		return nil, api.TooLarge.Errorf("page %s is larger than %d bytes", h, MaxPage)
	}
	if got := Hash(sha256.Sum256(b)); got != h {
		return nil, api.Invalid.Errorf("page %s came for %s", got, h)
	}
	return b, nil
}
