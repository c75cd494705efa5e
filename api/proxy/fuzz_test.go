package proxy

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// Reading a request never panics; what is wrong is Invalid or TooLarge, and what is
// read is of the types that the command says.
func FuzzParse(f *testing.F) {
	for _, q := range []string{"arg=a&arg=b", "recursive=true&r=false", "offset=0x10", "timeout=1s&encoding=json", "%zz", "arg=%00", "s=1;t=2",
		"mtime=-1&mtime-nsecs=4294967296", "ignore=a&ignore=b", "cid-base=z&upgrade-cidv0-in-output"} {
		f.Add("add", q)
		f.Add("cat", q)
	}
	commands := map[string]*command{}
	for _, group := range append(append([][]*command{}, clusterCommands...), nativeCommands...) {
		for _, c := range group {
			commands[c.path] = c
		}
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		c, ok := commands[path]
		if !ok {
			c = commands["add"]
		}
		args, opts, err := parse(c, &http.Request{URL: &url.URL{Path: "/api/v0/" + path, RawQuery: query}}, nil)
		if err != nil {
			if k := api.KindOf(err); k != api.Invalid && k != api.TooLarge {
				t.Fatalf("%q: %v is %s", query, err, k)
			}
			return
		}
		if len(args) > maxArgs {
			t.Fatalf("%d arguments", len(args))
		}
		for name, v := range opts {
			o, ok := c.option(name)
			if !ok || o.names[0] != name {
				t.Fatalf("%q is no option", name)
			}
			good := false
			switch v.(type) {
			case bool:
				good = o.kind == boolean
			case int64:
				good = o.kind == integer || o.kind == long
			case uint64:
				good = o.kind == unsigned
			case string:
				good = o.kind == text
			case []string:
				good = o.kind == texts
			}
			if !good {
				t.Fatalf("%s is a %T", name, v)
			}
		}
		if _, err := timeoutOf(opts); err != nil && api.KindOf(err) != api.Invalid {
			t.Fatal(err)
		}
		for _, a := range args {
			if _, err := parsePath(a); err != nil && api.KindOf(err) != api.Invalid {
				t.Fatal(err)
			}
			if _, err := checkPath(a); err != nil && api.KindOf(err) != api.Invalid {
				t.Fatal(err)
			}
		}
	})
}
