package api

// A Scope is what a user or a token may do with a door. Each includes those below it.
type Scope uint8

// The scopes. Nobody has ScopeNone, and it is enough for what all may ask.
const (
	ScopeNone  Scope = iota
	ScopeRead        // look at anything
	ScopeWrite       // and change the pinset
	ScopeAdmin       // and the peers, the tokens of others, and what is on the nodes
)

var scopeNames = [...]string{"", "read", "write", "admin"}

// ParseScope reads "read", "write" or "admin". The error is Invalid.
func ParseScope(s string) (Scope, error) {
	for i, name := range scopeNames {
		if s == name && s != "" {
			return Scope(i), nil
		}
	}
	return ScopeNone, Invalid.Errorf("%.100q is not a scope: read, write or admin", s)
}

// String is the scope's name, "" for none.
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return ""
}

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scope) UnmarshalText(text []byte) (err error) {
	*s, err = ParseScope(string(text))
	return err
}
