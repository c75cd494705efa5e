package web

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestTokens(t *testing.T) {
	logins := map[string]string{"ann": "secret", "bob": "other"}
	now := time.Unix(1_800_000_000, 0)
	mint := func(user, password string, life time.Duration) string {
		token, err := NewToken(user, password, life, now)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	// What `POST /token` of IPFS Cluster gives: no expiry.
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	hand := func(head, body, password string) string {
		signed := part(head) + "." + part(body)
		return signed + "." + base64.RawURLEncoding.EncodeToString(sign(algorithms["HS256"], password, signed))
	}
	const hs256 = `{"alg":"HS256","typ":"JWT"}`
	good := mint("ann", "secret", time.Hour)
	for name, tt := range map[string]struct {
		token string
		user  string // "" is a refusal
	}{
		"ours":              {good, "ann"},
		"the incumbent's":   {hand(hs256, `{"iss":"bob"}`, "other"), "bob"},
		"expired":           {mint("ann", "secret", 0), ""},
		"not yet":           {hand(hs256, `{"iss":"ann","nbf":1800000001}`, "secret"), ""},
		"from the future":   {hand(hs256, `{"iss":"ann","iat":1900000000}`, "secret"), ""},
		"wrong password":    {mint("ann", "other", time.Hour), ""},
		"unknown user":      {mint("eve", "", time.Hour), ""},
		"no algorithm":      {part(`{"alg":"none"}`) + "." + part(`{"iss":"ann"}`) + ".", ""},
		"another algorithm": {hand(`{"alg":"RS256"}`, `{"iss":"ann"}`, "secret"), ""},
		"cut":               {good[:len(good)-1], ""},
		"two parts":         {good[:strings.LastIndex(good, ".")], ""},
		"not base64":        {"a.b.c!", ""},
		"nothing":           {"", ""},
		"an odd claim":      {hand(hs256, `{"iss":"ann","exp":"soon"}`, "secret"), ""},
		"huge":              {strings.Repeat("a", maxToken+1), ""},
	} {
		user, err := checkToken(tt.token, logins, now)
		if user != tt.user || (err == nil) != (tt.user != "") {
			t.Errorf("%s: got %q, %v; want %q", name, user, err, tt.user)
		}
	}
}

func TestAuth_TakesTokens(t *testing.T) {
	o := Options{BasicAuthCredentials: map[string]string{"ann": "secret"}}
	h := Wrap(o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { NoContent(w) }), quiet, nil)
	token, err := NewToken("ann", "secret", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]int{"Bearer " + token: 204, "bearer  " + token: 204, "Bearer " + token + "x": 401, "Bearer": 401} {
		r := httptest.NewRequest("GET", "/id", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: got %d, want %d", header, w.Code, want)
		}
	}
}

// ownWords is a door with errors of its own form.
type ownWords struct{ http.Handler }

func (ownWords) WriteError(w http.ResponseWriter, e *api.Error) {
	w.WriteHeader(e.Code)
	_, _ = w.Write([]byte("own: " + e.Message))
}

func TestWrap_ErrorsInTheDoorsWords(t *testing.T) {
	o := Options{BasicAuthCredentials: map[string]string{"ann": "secret"}}
	inner := Handle(quiet, func(http.ResponseWriter, *http.Request) error { return api.NotFound.Errorf("no") })
	h := Wrap(o, ownWords{inner}, quiet, nil)
	for user, want := range map[string]string{"ann": "own: no", "eve": "own: unauthorized: access denied"} {
		r := httptest.NewRequest("GET", "/id", nil)
		r.SetBasicAuth(user, "secret")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Body.String() != want {
			t.Errorf("%s: got %d %q, want %q", user, w.Code, w.Body, want)
		}
	}
}
