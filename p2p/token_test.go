package p2p

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
)

func newToken(t testing.TB) Token {
	t.Helper()
	c, id, _ := newCluster(t)
	end := time.Unix(1_900_000_000, 0)
	credential, err := NewCredential(c.Private, end)
	if err != nil {
		t.Fatal(err)
	}
	return Token{Name: "garden", Secret: NewSecret(), Key: c.Key, Incarnation: c.Incarnation, Credential: credential, Expires: end,
		Addresses: []multiaddr.Multiaddr{
			multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096/p2p/" + id.ID.String()),
			multiaddr.StringCast("/dns4/a.example/tcp/9096/p2p/" + newIdentity(t).ID.String()),
		}}
}

func encode(t testing.TB, token Token) string {
	t.Helper()
	text, err := token.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestToken_RoundTrip(t *testing.T) {
	want := newToken(t)
	text := encode(t, want)
	if strings.ContainsAny(text, " \n\"'$\\&|<>") || len(text) > 600 {
		t.Fatalf("%d characters, not one short word of a shell: %s", len(text), text)
	}
	for name, pasted := range map[string]string{
		"as it is": text, "with a line's end": text + "\n", "wrapped": "  " + text[:80] + "\r\n " + text[80:],
	} {
		got, err := ParseToken(pasted)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v %v, want %+v", name, got, err, want)
		}
	}
}

func TestToken_DamageIsSeen(t *testing.T) {
	text := encode(t, newToken(t))
	for n := range len(text) {
		if _, err := ParseToken(text[:n]); err == nil {
			t.Fatalf("the first %d of %d characters pass", n, len(text))
		}
		changed := []byte(text)
		changed[n] ^= 1
		if token, err := ParseToken(string(changed)); err == nil && encode(t, token) == text {
			continue // the last character may have bits to spare
		} else if err == nil {
			t.Fatalf("character %d changed from %c to %c passes", n, text[n], changed[n])
		}
	}
	_, err := ParseToken(text[:len(text)-7])
	if err == nil || !strings.Contains(err.Error(), "copy it whole") {
		t.Fatalf("cut short: %v, want a hint", err)
	}
	_, err = ParseToken(strings.Repeat("x", 1<<20))
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Fatalf("a megabyte: %v", err)
	}
}

func TestToken_EncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Token){
		"no secret":            func(t *Token) { t.Secret = nil },
		"no key":               func(t *Token) { t.Key = nil },
		"no address":           func(t *Token) { t.Addresses = nil },
		"address without peer": func(t *Token) { t.Addresses[0] = multiaddr.StringCast("/ip4/192.0.2.1/tcp/1") },
		"long name":            func(t *Token) { t.Name = strings.Repeat("x", maxClusterName+1) },
	} {
		token := newToken(t)
		spoil(&token)
		if text, err := token.Encode(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestSecret_IsNotLogged(t *testing.T) {
	secret := NewSecret()
	text, err := json.Marshal(Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	var back Options
	if err := json.Unmarshal(text, &back); err != nil || !bytes.Equal(back.Secret, secret) {
		t.Fatalf("read back %x %v", []byte(back.Secret), err)
	}
	hex, _ := secret.MarshalText()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret)
	fmt.Fprint(&log, secret, newToken(t).Secret)
	if strings.Contains(log.String(), string(hex)) || !strings.Contains(log.String(), "(secret)") {
		t.Fatalf("logged: %s", log.String())
	}
	if err := new(Secret).UnmarshalText(hex[:62]); err == nil {
		t.Fatal("31 bytes pass")
	}
}

func FuzzParseToken(f *testing.F) {
	text := encode(f, newToken(f))
	f.Add(text)
	f.Add(text[:100])
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			return
		}
		again, err := ParseToken(encode(t, token))
		if err != nil || !reflect.DeepEqual(again, token) {
			t.Fatalf("%+v became %+v %v", token, again, err)
		}
	})
}
