package p2p

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func newLink(t testing.TB) Link {
	token := newToken(t)
	return Link{Name: token.Name, Secret: token.Secret, Key: token.Key, Incarnation: token.Incarnation, Addresses: token.Addresses, Hold: "share"}
}

func TestLink_RoundTrip(t *testing.T) {
	want := newLink(t)
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text, " \n\"'$\\&|<>") || len(text) > 500 {
		t.Fatalf("%d characters, not one short word of a shell: %s", len(text), text)
	}
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(document), `"settings":{`, `"new":[1],"settings":{"more":true,`, 1)
	for name, form := range map[string]string{
		"the text": text, "wrapped": "  " + text[:80] + "\r\n " + text[80:] + "\n",
		"the document": string(document), "with white space": "\n" + string(document) + "\n", "of a later program": later,
		"with a byte order mark": "\ufeff" + string(document), "the text with one": "\ufeff" + text + "\n",
	} {
		if got, err := ParseLink(form); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v %v, want %+v", name, got, err, want)
		}
	}
}

func TestParseLink_SaysWhatIsWrong(t *testing.T) {
	text, err := newLink(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(newLink(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", " \n", "is empty"},
		{"some text", "hello", "must begin with"},
		{"half of it", text[:len(text)/2], "copy it whole"},
		{"a letter changed", text[:40] + flip(text[40:41]) + text[41:], "copy it whole"},
		{"a join token", encode(t, newToken(t)), "token to join"},
		{"a web page", "<html>", "web page"},
		{"a long web page", "\ufeff\n<!DOCTYPE html>" + strings.Repeat("x", MaxLink), "web page"},
		{"UTF-16", "\xff\xfep\x00i\x00n\x00", "UTF-16"},
		{"another document", `{"name":"x"}`, `has no "pinfold_follow"`},
		{"a later version", strings.Replace(string(document), `"pinfold_follow":1`, `"pinfold_follow":2`, 1), "reads version 1"},
		{"half a document", string(document[:len(document)/2]), "follow link"},
		{"no addresses", strings.Replace(string(document), `"addresses":[`, `"addresses":[],"old":[`, 1), "no address"},
		{"no incarnation", strings.Replace(string(document), `"incarnation":"`, `"incarnation":"0","old":"`, 1), "incarnation"},
		{"too long", strings.Repeat("x", MaxLink+1), "too many"},
	} {
		if l, err := ParseLink(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %+v %v, want an error with %q", tt.name, l, err, tt.want)
		}
	}
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func FuzzParseLink(f *testing.F) {
	l := newLink(f)
	text, err := l.Encode()
	if err != nil {
		f.Fatal(err)
	}
	document, err := json.Marshal(l)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(string(document))
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLink(text)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseLink(again); err != nil || !reflect.DeepEqual(got, l) {
			t.Fatalf("got %+v %v, want %+v", got, err, l)
		}
	})
}
