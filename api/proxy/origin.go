package proxy

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// extensions are the origins of the IPFS Companion, which Kubo always lets in.
var extensions = []string{
	"chrome-extension://nibjojkomfdiaoajekhjakgkdhaomnch", "chrome-extension://hjoieblefckbooibpepigmacodalfndh",
}

// admit answers requests that are not to be served: of other methods than POST, and of
// pages of other origins, which a browser sends without asking its user. It tells
// whether the request is to be served.
func (h *handler) admit(w http.ResponseWriter, r *http.Request) bool {
	allowed := h.o.origins(r)
	origin := r.Header.Get("Origin")
	w.Header().Add("Vary", "Origin")
	if origin != "" && slices.Contains(allowed, origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	switch r.Method {
	case http.MethodOptions:
		options(w, r, origin, slices.Contains(allowed, origin))
		return false
	case http.MethodPost:
	default:
		refuseMethod(w)
		return false
	}
	if suspicious(r, allowed) {
		http.Error(w, "403 - Forbidden", http.StatusForbidden)
		return false
	}
	return true
}

func refuseMethod(w http.ResponseWriter) {
	w.Header().Set("Allow", "OPTIONS, POST")
	http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
}

// options answers a browser that asks whether it may.
func options(w http.ResponseWriter, r *http.Request, origin string, allowed bool) {
	h := w.Header()
	if r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Allow", "OPTIONS, POST")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Add("Vary", "Access-Control-Request-Method")
	h.Add("Vary", "Access-Control-Request-Headers")
	h.Del("Access-Control-Allow-Origin")
	if allowed && r.Header.Get("Access-Control-Request-Method") == http.MethodPost {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// suspicious tells whether a request comes from a page of an origin that is not among
// those given. A browser that says nothing of its page is not believed.
func suspicious(r *http.Request, origins []string) bool {
	origin, referer := r.Header.Get("Origin"), r.Referer()
	if origin != "" && !slices.Contains(origins, origin) {
		return true
	}
	if referer != "" {
		u, err := url.Parse(referer)
		if err != nil || !slices.Contains(origins, u.Scheme+"://"+u.Host) {
			return true
		}
	}
	agent := r.UserAgent()
	return origin == "" && referer == "" && strings.HasPrefix(agent, "Mozilla") && !strings.Contains(agent, "Electron")
}

// origins are those of the pages that may send a request: this address's own, and those
// of the options. Any is that of the request itself.
func (o Options) origins(r *http.Request) []string {
	all := append(ownOrigins(r), o.CORSAllowedOrigins...)
	if !slices.Contains(o.CORSAllowedOrigins, "*") {
		return all
	}
	all = append(all, r.Header.Get("Origin"))
	if u, err := url.Parse(r.Referer()); err == nil && u.Host != "" {
		all = append(all, u.Scheme+"://"+u.Host)
	}
	return all
}

// ownOrigins are those of pages that this very listener could have served, by the
// names of the machine's loopback addresses, and of the extensions.
func ownOrigins(r *http.Request) []string {
	origins := slices.Clone(extensions)
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return origins
	}
	port := strconv.Itoa(addr.Port)
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		for _, scheme := range []string{"http", "https"} {
			origins = append(origins, scheme+"://"+host+":"+port)
		}
	}
	return origins
}
