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
		token, err := Tokens{}.New(user, password, api.ScopeNone, life, now)
		if err != nil {
			t.Fatal(err)
		}
		return token.Token
	}
	// What `POST /token` of IPFS Cluster gives: no expiry.
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	hand := func(head, body, password string) string {
		signed := part(head) + "." + part(body)
		return signed + "." + base64.RawURLEncoding.EncodeToString(sign(algorithms["HS256"], []byte(password), signed))
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
		"not yet":           {hand(hs256, `{"iss":"ann","nbf":1800000061}`, "secret"), ""},
		"of a peer ahead":   {hand(hs256, `{"iss":"ann","iat":1800000060}`, "secret"), "ann"},
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
		id, err := Tokens{}.check(tt.token, Users{Passwords: logins}, now)
		if user := id.User; user != tt.user || (err == nil) != (tt.user != "") {
			t.Errorf("%s: got %q, %v; want %q", name, id.User, err, tt.user)
		}
	}
}

// A token lets its user do what both may.
func TestTokens_Scopes(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	users := Options{BasicAuthCredentials: map[string]string{"ann": "secret", "bob": "secret", "eve": "secret"},
		BasicAuthScopes: map[string]string{"bob": "write", "eve": "read"}}.Users()
	for user, want := range map[string][4]api.Scope{ // by the scope asked for: none, read, write, admin
		"ann": {api.ScopeAdmin, api.ScopeRead, api.ScopeWrite, api.ScopeAdmin},
		"bob": {api.ScopeWrite, api.ScopeRead, api.ScopeWrite, api.ScopeWrite},
		"eve": {api.ScopeRead, api.ScopeRead, api.ScopeRead, api.ScopeRead},
	} {
		for asked, scope := range want {
			token, err := Tokens{}.New(user, "secret", api.Scope(asked), time.Hour, now)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := (Tokens{}).check(token.Token, users, now); err != nil || id != (Identity{user, scope}) {
				t.Errorf("%s, asked for %q: got %v, %v, want %s", user, api.Scope(asked), id, err, scope)
			}
		}
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"ann","scope":"root"}`))
	forged := signed + "." + base64.RawURLEncoding.EncodeToString(sign(algorithms["HS256"], []byte("secret"), signed))
	if id, err := (Tokens{}).check(forged, users, now); err == nil {
		t.Errorf("a scope that is none: got %v", id)
	}
}

// Ours end, can be revoked, and do not tell by themselves whether a guess at the
// password is right.
func TestD14_TokensEndAndCanBeRevoked(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	logins := map[string]string{"ann": "secret", "bob": "secret"}
	revoked := map[string]bool{}
	tokens := Tokens{Key: keyOf("of the cluster"), Revoked: func(id string) bool { return revoked[id] }}
	one, err := tokens.New("ann", "secret", api.ScopeNone, TokenLife, now)
	if err != nil {
		t.Fatal(err)
	}
	two, err := tokens.New("ann", "secret", api.ScopeNone, TokenLife, now)
	if err != nil {
		t.Fatal(err)
	}
	if one.ID == two.ID || !one.Expires.Equal(now.AddDate(0, 0, 90)) {
		t.Errorf("got %+v and %+v", one, two)
	}
	takes := func(tokens Tokens, token string, at time.Time, logins map[string]string) bool {
		_, err := tokens.check(token, Users{Passwords: logins}, at)
		return err == nil
	}
	another := tokens
	another.Key = keyOf("of another")
	for name, tc := range map[string]struct{ got, want bool }{
		"at once":           {takes(tokens, one.Token, now, logins), true},
		"on the last day":   {takes(tokens, one.Token, one.Expires.Add(-time.Second), logins), true},
		"once it has ended": {takes(tokens, one.Token, one.Expires, logins), false},
		"new password":      {takes(tokens, one.Token, now, map[string]string{"ann": "other"}), false},
		"user gone":         {takes(tokens, one.Token, now, map[string]string{"bob": "secret"}), false},
		"another cluster":   {takes(another, one.Token, now, logins), false},
		"without the key":   {takes(Tokens{}, one.Token, now, logins), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: taken: %v, want %v", name, tc.got, tc.want)
		}
	}
	revoked[one.ID] = true
	if takes(tokens, one.Token, now, logins) || !takes(tokens, two.Token, now, logins) {
		t.Error("the revoked token is taken, or the other is not")
	}
}

func TestAuth_TakesTokens(t *testing.T) {
	o := Options{BasicAuthCredentials: map[string]string{"ann": "secret"}}
	h := Wrap(o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { NoContent(w) }), quiet, nil)
	made, err := Tokens{}.New("ann", "secret", api.ScopeNone, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	token := made.Token
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

func keyOf(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}
