package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

const (
	// maxPath bounds a request's path, in bytes.
	maxPath = 4096
	// maxDepth bounds its segments: boxo resolves a path anew for each of them.
	maxDepth = 128
)

// hostHeader is what a Host header may be: a name or an IP address, with or without a port.
// boxo makes the URLs of its redirects from it.
var hostHeader = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// check lets through what the gateway can answer, and the rest not.
func check(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, fault := fault(r)
		if code == 0 {
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
				r.Header.Del("Range") // RFC 9110: other units are ignored
			}
			h.ServeHTTP(w, r)
			return
		}
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // else net/http waits for the body before it answers
		}
		if code == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		}
		http.Error(w, fault, code)
	})
}

// fault tells what is wrong with r, and the status that says so; 0 for nothing.
func fault(r *http.Request) (code int, text string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return http.StatusMethodNotAllowed, fmt.Sprintf("method %s: this gateway only reads; use GET or HEAD", r.Method)
	}
	if r.ContentLength != 0 {
		return http.StatusBadRequest, "a request to the gateway has no body"
	}
	for _, name := range append([]string{r.Host}, r.Header.Values("X-Forwarded-Host")...) {
		if name != "" && !hostHeader.MatchString(name) {
			return http.StatusBadRequest, fmt.Sprintf("%q is not the name of a host", name)
		}
	}
	if r.Header.Get("Range") == "bytes=-0" {
		return http.StatusRequestedRangeNotSatisfiable, "bytes=-0 asks for nothing"
	}
	if len(r.URL.Path) > maxPath {
		return http.StatusRequestURITooLong, fmt.Sprintf("a path has at most %d bytes", maxPath)
	}
	segments := strings.Split(r.URL.Path, "/")
	if len(segments) > maxDepth {
		return http.StatusBadRequest, fmt.Sprintf("a path has at most %d segments", maxDepth)
	}
	for _, s := range segments {
		// They would lead out of the content that the origin of a subdomain stands for.
		if s == "." || s == ".." {
			return http.StatusBadRequest, "a path has no segments . and .."
		}
		if strings.ContainsRune(s, 0) {
			return http.StatusBadRequest, "a path has no zero bytes"
		}
	}
	return 0, ""
}
