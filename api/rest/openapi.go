package rest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// object is one of JSON.
type object = map[string]any

// openAPI makes the OpenAPI 3.1 document of the routes.
func openAPI(version string, routes []route) ([]byte, error) {
	s := schemas{}
	paths := object{}
	for _, r := range routes {
		path, _ := paths[r.path].(object)
		if path == nil {
			path = object{}
			paths[r.path] = path
		}
		path[strings.ToLower(r.method)] = operation(r, s)
	}
	errorRef := s.of(reflect.TypeFor[api.Error]())
	text, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{"title": "Pinfold cluster API", "version": version,
			"description": "The REST API of IPFS Cluster 1.1.6, with additions. Unknown parameters are ignored."},
		"servers": []object{{"url": "/"}},
		// Whether credentials are asked for is a setting.
		"security": []object{{}, {"basic": []string{}}, {"bearer": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": s,
			"responses": object{"Error": object{"description": "the request failed: what is wrong, and where that can be told what to do",
				"content": content(jsonType, errorRef)}},
			"securitySchemes": object{
				"basic":  object{"type": "http", "scheme": "basic"},
				"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
			},
		},
	})
	return append(text, '\n'), err
}

// document serves what openAPI makes.
func (h *handler) document(w http.ResponseWriter, _ *http.Request) error {
	text, err := openAPI(h.Version, h.routes())
	if err != nil {
		return err
	}
	web.WriteLine(w, text)
	return nil
}

func content(media string, schema any) object { return object{media: object{"schema": schema}} }

var pathVariable = regexp.MustCompile(`\{(\w+)\}`)

func operation(r route, s schemas) object {
	params := []object{}
	for _, m := range pathVariable.FindAllStringSubmatch(r.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range r.params {
		params = append(params, p.object())
	}
	about := "everybody may, also without credentials"
	if r.scope != api.ScopeNone {
		about = "needs the scope " + r.scope.String()
	}
	op := object{"summary": r.about, "description": about, "x-scope": r.scope, "parameters": params, "responses": r.responses(s)}
	if r.body != "" {
		schema := object{"type": "string"}
		switch r.body {
		case jsonType:
			schema = s.of(reflect.TypeOf(r.needs))
		case multipartType:
			schema = object{"type": "object", "additionalProperties": object{"type": "string", "contentMediaType": "application/octet-stream"}}
		}
		op["requestBody"] = object{"required": true, "content": content(r.body, schema)}
	}
	return op
}

func (p queryParam) object() object {
	o := object{"name": p.name, "in": "query", "description": p.about, "schema": object{"type": string(p.kind)}}
	switch p.kind {
	case list:
		o["schema"] = object{"type": "array", "items": object{"type": "string"}}
		o["style"], o["explode"] = "form", false
	case prefixed:
		o["schema"] = object{"type": "object", "patternProperties": object{"^" + p.name + ".": object{"type": "string"}}}
		o["style"], o["explode"] = "form", true
	}
	return o
}

// takes tells whether r has a parameter of that name.
func (r route) takes(name string) bool {
	return slices.ContainsFunc(r.params, func(p queryParam) bool { return p.name == name })
}

func (r route) responses(s schemas) object {
	out := object{"default": object{"$ref": "#/components/responses/Error"}}
	if r.lines {
		out["204"] = object{"description": "there is nothing to tell of"}
	}
	answer := object{"description": "success"}
	if r.lines {
		answer["description"] = "a JSON object a line; the trailer X-Stream-Error tells of an error that broke them off"
	}
	if r.result != nil {
		schema := s.of(reflect.TypeOf(r.result))
		forms := []object{schema}
		if r.takes("count") {
			forms = append(forms, s.of(reflect.TypeFor[api.Count]()))
		}
		if r.takes("stream-channels") { // null for nothing
			forms = append(forms, object{"type": []string{"array", "null"}, "items": schema})
		}
		if r.picks {
			forms = append(forms, s.part(reflect.TypeOf(r.result)))
		}
		if len(forms) > 1 {
			schema = object{"anyOf": forms}
		}
		answer["content"] = content(cmp.Or(r.media, jsonType), schema)
	}
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	out[strconv.Itoa(status)] = answer
	return out
}

// schemas are the JSON Schemas of the structs met so far, by name.
type schemas object

var texts = map[reflect.Type]object{
	reflect.TypeFor[api.PeerID]():        {"type": "string"},
	reflect.TypeFor[api.Multiaddr]():     {"type": "string"},
	reflect.TypeFor[api.Scope]():         {"type": "string"},
	reflect.TypeFor[api.Cid]():           {"type": []string{"string", "null"}},
	reflect.TypeFor[api.PinType]():       {"type": "string"},
	reflect.TypeFor[api.PinMode]():       {"type": "string"},
	reflect.TypeFor[api.TrackerStatus](): {"type": "string"},
	reflect.TypeFor[time.Time]():         {"type": "string", "format": "date-time"},
}

// of is the schema of what encoding/json makes of a t.
func (s schemas) of(t reflect.Type) object {
	if schema, ok := texts[t]; ok {
		return schema
	}
	switch t.Kind() {
	case reflect.Pointer:
		return object{"anyOf": []object{s.of(t.Elem()), {"type": "null"}}}
	case reflect.Slice:
		return object{"type": []string{"array", "null"}, "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		if s[t.Name()] == nil {
			schema := object{}
			s[t.Name()] = schema // before its fields, which may lead back to it
			properties, required := object{}, []string{}
			s.fields(t, properties, &required)
			schema["type"], schema["properties"], schema["required"] = "object", properties, required
		}
		return object{"$ref": "#/components/schemas/" + t.Name()}
	case reflect.Interface:
		return object{}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	default: // the other kinds in use are those of whole numbers
		return object{"type": "integer"}
	}
}

// part is the schema of a struct of which any fields may be absent.
func (s schemas) part(t reflect.Type) object {
	properties, required := object{}, []string{}
	s.fields(t, properties, &required)
	if properties["peer_map"] != nil {
		properties[shortStatus] = object{"type": "object", "additionalProperties": object{"type": "string"}}
	}
	return object{"type": "object", "properties": properties}
}

func (s schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
		case name != "-" && name != "":
			properties[name] = s.of(f.Type)
			if !strings.Contains(rest, "omit") {
				*required = append(*required, name)
			}
		}
	}
}
