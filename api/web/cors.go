package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// safelisted are the request headers that pages may always send.
var safelisted = []string{"Origin", "Accept", "Content-Type", "X-Requested-With"}

// cors answers browsers that ask on behalf of a page of another origin.
type cors struct {
	origins, methods, headers []string
	exposed                   string
	credentials               bool
	maxAge                    string
	next                      http.Handler
}

// crossOrigin lets pages of other origins do what o allows. A write that it does not
// allow is refused, not only hidden from the page: browsers send simple POSTs
// without asking first.
func crossOrigin(o Options, next http.Handler) http.Handler {
	c := &cors{
		origins:     o.CORSAllowedOrigins,
		exposed:     strings.Join(o.CORSExposedHeaders, ", "),
		credentials: *o.CORSAllowCredentials,
		next:        next,
	}
	for _, m := range o.CORSAllowedMethods {
		c.methods = append(c.methods, strings.ToUpper(m))
	}
	for _, h := range slices.Concat(safelisted, o.CORSAllowedHeaders) {
		c.headers = append(c.headers, http.CanonicalHeaderKey(h))
	}
	if o.CORSMaxAge > 0 {
		c.maxAge = strconv.Itoa(int(o.CORSMaxAge.Seconds()))
	}
	return c
}

func (c *cors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method == http.MethodOptions && asked != "" {
		c.preflight(w, r, origin, asked)
		return
	}
	if origin != "" {
		switch {
		case c.allows(origin, r.Method):
			c.grant(w.Header(), origin)
			if c.exposed != "" {
				w.Header().Set("Access-Control-Expose-Headers", c.exposed)
			}
		case !safe(r.Method) && !sameOrigin(origin, r):
			WriteError(w, api.Denied.Errorf("cross-origin %s from %s is not allowed", r.Method, origin))
			return
		}
	}
	c.next.ServeHTTP(w, r)
}

// preflight answers 204, and only where the request to come is allowed says so.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request, origin, method string) {
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Method")
	h.Add("Vary", "Access-Control-Request-Headers")
	headers, ok := c.allowedHeaders(r.Header.Get("Access-Control-Request-Headers"))
	if origin != "" && ok && c.allows(origin, method) {
		c.grant(h, origin)
		h.Set("Access-Control-Allow-Methods", strings.ToUpper(method))
		if headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		if c.maxAge != "" {
			h.Set("Access-Control-Max-Age", c.maxAge)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *cors) grant(h http.Header, origin string) {
	if slices.Contains(c.origins, "*") {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

func (c *cors) allows(origin, method string) bool {
	if method = strings.ToUpper(method); method != http.MethodOptions && !slices.Contains(c.methods, method) {
		return false
	}
	return slices.ContainsFunc(c.origins, func(o string) bool {
		// One * stands for any text: "https://*.example.org".
		before, after, wild := strings.Cut(strings.ToLower(o), "*")
		origin := strings.ToLower(origin)
		if !wild {
			return before == origin
		}
		return len(origin) >= len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
	})
}

// allowedHeaders tells whether all headers of a comma-separated list are allowed, and
// gives the list back.
func (c *cors) allowedHeaders(list string) (string, bool) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name == "" {
			continue
		}
		if !slices.Contains(c.headers, name) && !slices.Contains(c.headers, "*") {
			return "", false
		}
		names = append(names, name)
	}
	return strings.Join(names, ", "), true
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sameOrigin tells whether the page came from the very address it asks.
func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host && (u.Scheme == "https") == (r.TLS != nil)
}
