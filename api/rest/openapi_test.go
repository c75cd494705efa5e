package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// document is /openapi.json as a client reads it. All answers that the tests of this
// package get are held to it: see do.
var document = sync.OnceValue(func() object {
	h := &handler{Parts: Parts{Version: "9.9.9"}}
	text, err := openAPI(h.Version, h.routes())
	if err != nil {
		panic(err)
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		panic(err)
	}
	return doc
})

// at follows keys into a document.
func at(v any, keys ...string) any {
	for _, k := range keys {
		o, _ := v.(object)
		v = o[k]
	}
	return v
}

func TestOpenAPI_TellsOfEveryRoute(t *testing.T) {
	c := &cluster{}
	res, text := do(t, "GET", c.serve(t)+"/openapi.json", nil)
	var doc object
	if err := json.Unmarshal([]byte(text), &doc); err != nil || res.StatusCode != 200 || doc["openapi"] != "3.1.0" {
		t.Fatalf("got %d %v %.100s", res.StatusCode, err, text)
	}
	routes := (&handler{}).routes()
	for _, r := range routes {
		op, ok := at(doc, "paths", r.path, strings.ToLower(r.method)).(object)
		if !ok {
			t.Errorf("%s %s is not in the document", r.method, r.path)
			continue
		}
		if op["summary"] == "" || r.serve == nil {
			t.Errorf("%s %s: says nothing, or nothing serves it", r.method, r.path)
		}
	}
	for name := range at(doc, "components", "schemas").(object) {
		if err := resolved(doc, at(doc, "components", "schemas", name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := resolved(doc, doc["paths"]); err != nil {
		t.Error(err)
	}
}

// resolved tells whether all references below v lead somewhere.
func resolved(doc object, v any) error {
	switch v := v.(type) {
	case object:
		for k, inner := range v {
			if ref, ok := inner.(string); k == "$ref" && ok {
				if at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
					return fmt.Errorf("%s leads nowhere", ref)
				}
			}
			if err := resolved(doc, inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := resolved(doc, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestConforms_SeesWhatTheDocumentDoesNotTell(t *testing.T) {
	answer := &http.Response{StatusCode: 200}
	for body, ok := range map[string]bool{
		`{"version":"1"}`: true, `{"version":1}`: false, `{}`: false, `{"version":"1","more":2}`: false, `[]`: false, ``: false, `null`: false,
	} {
		u := &url.URL{Path: "/version"}
		if err := conforms("GET", u, answer, body); (err == nil) != ok {
			t.Errorf("%s: got %v", body, err)
		}
	}
	for request, ok := range map[string]bool{"GET /pins?local=true": true, "GET /pins?locla=true": false, "POST /pins/x?meta-a=b&meta-b=c": true, "POST /pins/ipfs/a/b/c?met=1": false} {
		method, path, _ := strings.Cut(request, " ")
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := parametersTold(method, u); (err == nil) != ok {
			t.Errorf("%s: got %v", request, err)
		}
	}
}

// operationOf finds what the document tells of a request, nil for nothing.
func operationOf(method string, u *url.URL) object {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	best, fixed := "", -1
	for path := range at(document(), "paths").(object) {
		n := 0
		want := strings.Split(strings.TrimPrefix(path, "/"), "/")
		all := want[len(want)-1] == "{path}"
		if len(parts) != len(want) && (!all || len(parts) < len(want)) {
			continue
		}
		for i, w := range want {
			switch {
			case w == parts[i]:
				n++
			case !strings.HasPrefix(w, "{"):
				n = -1000
			}
		}
		if n > fixed && at(document(), "paths", path, strings.ToLower(method)) != nil {
			best, fixed = path, n
		}
	}
	op, _ := at(document(), "paths", best, strings.ToLower(method)).(object)
	return op
}

// unread are parameters that a client in use sends and nobody ever read.
var unread = []string{"wrap", "no-copy"}

// parametersTold tells whether the document has the parameters of a request.
func parametersTold(method string, u *url.URL) error {
	op := operationOf(method, u)
	if op == nil {
		return nil
	}
	for name := range u.Query() {
		if !slices.Contains(unread, name) && !slices.ContainsFunc(op["parameters"].([]any), func(p any) bool {
			told, _ := at(p, "name").(string)
			return told == name || strings.HasSuffix(told, "-") && strings.HasPrefix(name, told)
		}) {
			return fmt.Errorf("the document does not tell of the parameter %q of %s %s: routes.go has the table", name, method, u.Path)
		}
	}
	return nil
}

// conforms tells whether an answer is one that the document tells of.
func conforms(method string, u *url.URL, res *http.Response, body string) error {
	op := operationOf(method, u)
	responses, _ := at(op, "responses").(object)
	answer, told := responses[strconv.Itoa(res.StatusCode)]
	if !told {
		if res.StatusCode/100 == 2 && res.StatusCode != http.StatusAccepted || res.StatusCode < 200 {
			return fmt.Errorf("the document does not tell of status %d of %s %s", res.StatusCode, method, u.Path)
		}
		if method == "HEAD" {
			return nil
		}
		return matches(document(), object{"$ref": "#/components/schemas/Error"}, body)
	}
	if err := parametersTold(method, u); err != nil {
		return err
	}
	schema := at(answer, "content", "application/json", "schema")
	if schema == nil {
		if body != "" {
			return fmt.Errorf("%s %s: the document tells of no body, got %q", method, u.Path, body)
		}
		return nil
	}
	d := json.NewDecoder(strings.NewReader(body))
	for n := 0; ; n++ {
		var line json.RawMessage
		if err := d.Decode(&line); err != nil {
			if n == 0 && u.Path != "/add" {
				return fmt.Errorf("%s %s: no JSON in %q", method, u.Path, body)
			}
			return nil
		}
		if err := matches(document(), schema, string(line)); err != nil {
			return fmt.Errorf("%s %s: %w", method, u.Path, err)
		}
	}
}

func matches(doc object, schema any, text string) error {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return fmt.Errorf("%.200q is no JSON: %w", text, err)
	}
	return valid(doc, schema, v, "")
}

// valid tells whether v is as the schema says; a property that the schema does not
// name is a fault.
func valid(doc object, schema, v any, where string) error {
	s, _ := schema.(object)
	if ref, ok := s["$ref"].(string); ok {
		return valid(doc, at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), v, where)
	}
	if any, ok := s["anyOf"].([]any); ok {
		var err error
		for _, one := range any {
			if err = valid(doc, one, v, where); err == nil {
				return nil
			}
		}
		return err
	}
	var types []any
	switch t := s["type"].(type) {
	case string:
		types = []any{t}
	case []any:
		types = t
	default:
		return nil // anything
	}
	got := typeOf(v)
	if !slices.Contains(types, any(got)) && !(got == "integer" && slices.Contains(types, any("number"))) {
		return fmt.Errorf("%s is of type %s, not %v", where, got, types)
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if err := valid(doc, s["items"], item, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	case object:
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s lacks %s", where, name)
			}
		}
		for name, item := range v {
			inner := at(s, "properties", name)
			if inner == nil {
				inner = s["additionalProperties"]
			}
			if inner == nil {
				return fmt.Errorf("the document does not tell of %s.%s", where, name)
			}
			if err := valid(doc, inner, item, where+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
