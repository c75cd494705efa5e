package config

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzParse: whatever the file says, there are settings or faults; settings survive
// being written and read.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "{}", "[]", "{}{}", `{"cluster":null}`, referenceFile,
		`{"cluster":{"peername":"x","secret":"` + secret + `","replication_factor_min":2,"replication_factor_max":3,"listen_multiaddress":["/ip4/1.2.3.4/tcp/1"]}}`,
		`{"embedded":{"gateway_listen_multiaddress":"off","storage_max":1e9},"informer":{"tags":{"tags":{"a":"b"}}}}`,
		`{"api":{"restapi":{"headers":{"X":["y"]},"cors_allow_credentials":false,"basic_auth_credentials":{"u":"p"}}}}`,
		`{"cluster":{"peername":"a","peername":"b"},"x":{"y":[{}]},"source":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		c, _, err := parse(file, nil)
		if err != nil {
			return
		}
		roundTrip(t, c)
	})
}

// FuzzEnvironment: the same for one variable of every setting in turn.
func FuzzEnvironment(f *testing.F) {
	for i, s := range []string{"x", secret, "/ip4/1.2.3.4/tcp/1,/ip6/::1/tcp/1", peer1, "a:b,c:d:e", "a:", ":b", ",,", "-1", "3", "true", "5m", "1e400h", "off", "999999999999999999999", "\x00", "a,b"} {
		for n := range 10 {
			f.Add(i*10+n, s)
		}
	}
	var c Config
	settings := keys(reflect.ValueOf(&c).Elem(), nil)
	f.Fuzz(func(t *testing.T, n int, text string) {
		if n < 0 {
			return
		}
		name := envName(settings[n%len(settings)].path)
		c, _, err := FromEnv([]string{name + "=" + text})
		if err != nil {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q: the error does not name the variable: %v", name, text, err)
			}
			return
		}
		roundTrip(t, c)
	})
}

func roundTrip(t *testing.T, c Config) {
	t.Helper()
	if _, err := c.Show(); err != nil {
		t.Fatalf("show: %v", err)
	}
	text, err := brief(c)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := parse(text, nil)
	if err != nil {
		t.Fatalf("what was saved is faulty: %v\n%s", err, text)
	}
	if !reflect.DeepEqual(back, c) {
		t.Fatalf("read back:\n%+v\nwant\n%+v\nfrom %s", back, c, text)
	}
}
