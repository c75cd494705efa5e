package config

import "testing"

func TestWithSource_LeavesTheRest(t *testing.T) {
	for _, tt := range []struct{ text, source, want, had string }{
		{`{"zeta":1,"follow":{"hold":"all","source":"http://a/","gc_interval":"1h"},"cluster":{}}`, "http://b/",
			`{"zeta":1,"follow":{"hold":"all","source":"http://b/","gc_interval":"1h"},"cluster":{}}`, "http://a/"},
		{`{"follow":{"source":"http://a/","neighbours":8}}`, "", `{"follow":{"neighbours":8}}`, "http://a/"},
		{`{}`, "http://b/?x=\"&y", `{"follow":{"source":"http://b/?x=\"&y"}}`, ""},
		{`{"follow":{"source":null}}`, "http://b/", `{"follow":{"source":"http://b/"}}`, ""},
		{`{"cluster":{"peername":"x"}}`, "", `{"cluster":{"peername":"x"},"follow":{}}`, ""},
	} {
		got, had, err := WithSource([]byte(tt.text), tt.source)
		if err != nil || had != tt.had || !sameJSON(t, got, []byte(tt.want)) {
			t.Errorf("%s with %q: %s, had %q, %v", tt.text, tt.source, got, had, err)
		}
	}
	for _, text := range []string{``, `{`, `[]`, `{"follow":[]}`, `{"follow":{"source":7}}`, `{} {}`} {
		if _, _, err := WithSource([]byte(text), "http://b/"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
