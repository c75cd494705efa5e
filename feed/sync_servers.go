package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// GetPage asks for a page. It ends with its context, reads no more than MaxPage+1 bytes,
// and is called from several goroutines.
type GetPage func(ctx context.Context, h Hash) ([]byte, error)

const (
	serverSlots = streamsFew // pages asked of one server at once, at most: a busy one answers no more
	serverTries = 4          // to get one page, at once
)

// servers share the pages to be fetched: each gets the next one as it is done with
// another, so the quick ones give most. One that fails is not asked again. Some lack
// pages: who has all is asked for those.
type servers struct {
	all, some chan *server  // one entry for each page that may be asked for
	none      chan struct{} // closed when all that have all pages have failed

	mu   sync.Mutex
	left int // that have all pages
	errs []error
}

type server struct {
	get    GetPage
	free   chan *server // where its entries belong
	failed bool         // guarded by servers.mu
}

func newServers(all, some []GetPage) *servers {
	free := func(gets []GetPage) chan *server {
		free := make(chan *server, serverSlots*len(gets))
		list := make([]*server, len(gets))
		for i, get := range gets {
			list[i] = &server{get: get, free: free}
		}
		for range serverSlots {
			for _, v := range list {
				free <- v
			}
		}
		return free
	}
	s := &servers{all: free(all), some: free(some), none: make(chan struct{}), left: len(all)}
	if s.left == 0 {
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
	for some := s.some; ; {
		v, err := s.take(ctx, some)
		if err != nil {
			return nil, err
		}
		b, err := v.page(ctx, h)
		lacks := v.free == s.some && api.KindOf(err) == api.NotFound
		if err == nil || lacks || ctx.Err() != nil { // or another was quicker
			v.free <- v
		}
		switch {
		case err == nil:
			return b, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case lacks:
			some = nil
		default:
			s.drop(v, err)
		}
	}
}

// take returns a server that may be asked: one that has all pages, or of some.
func (s *servers) take(ctx context.Context, some chan *server) (v *server, err error) {
	for {
		select {
		case v = <-s.all:
		case v = <-some:
		case <-s.none:
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, api.Unavailable.Errorf("no server of all pages is left: %v", errors.Join(s.errs...))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if s.good(v) {
			return v, nil
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
	if v.free == s.all {
		if s.left--; s.left == 0 {
			close(s.none)
		}
	}
}

func (v *server) page(ctx context.Context, h Hash) ([]byte, error) {
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
