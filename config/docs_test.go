package config

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/config.md anew")

// TestDocs_AreTheCommentsOfTheOptions makes docs/config.md from the comments of the
// structs that the tree is made of.
func TestDocs_AreTheCommentsOfTheOptions(t *testing.T) {
	path := filepath.Join("..", "docs", "config.md")
	want := manual(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run 'go test ./config -run Docs -update'", path)
	}
}

const intro = `# Settings

For operators: everything that a peer can be told. This page is made from the source; see
config/docs_test.go.

A peer's settings are the file service.json in its directory (~/.ipfs-cluster, or what -c names), which
init writes with what differs from the defaults only, and the environment, which goes over the file.
cluster-service config show prints all that is in force, without secrets. A section of the
file is an object: cluster.peername is ` + "`" + `{"cluster": {"peername": "..."}}` + "`" + `.

- Times are such as 500ms, 30s, 5m, 1h30m. Sizes are such as 50GiB or 200GB, or numbers of bytes. Addresses are multiaddresses.
- A list of one may be written as that one. In a variable, commas separate the elements of a list, and
  the key:value pairs of a map. An empty variable says nothing.
- 0, "" and null stand for the default. What is left out has its default too: true where that is true.
- All faults are reported at once, each with its place. An unknown key is a fault. An unknown variable
  that starts with CLUSTER_ is a warning.
- Names of files are relative to the peer's directory.

## Coming from IPFS Cluster

The keys and variables of IPFS Cluster 1.1.6 keep their names. Three things differ:

- **Pins of a dead peer are placed anew by default.** IPFS Cluster has cluster.disable_repinning true by
  default and writes that into each service.json that it makes: take it out of a file that you carry
  over (a warning reminds you), unless you mean it. With it the pins of a dead peer wait for its return.
- **Each peer has its own IPFS node in it**, unless ipfs_connector.ipfshttp.node_multiaddress names a Kubo
  daemon, as a file or environment that you carry over does.
- cluster.id and cluster.private_key are not read: the identity is in identity.json. CLUSTER_ID and
  CLUSTER_PRIVATEKEY are that of a peer which has none yet; those of another one are refused.

Settings without a meaning here are ignored with a warning; the list is at the end.
`

func manual(t *testing.T) string {
	d := docs{t: t, defaults: map[string]key{}, structs: map[string]map[string]string{}}
	c, err := Config{Cluster: Cluster{PeerName: "-"}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys(reflect.ValueOf(&c).Elem(), nil) {
		d.defaults[k.String()] = k
	}
	d.b.WriteString(intro)
	d.sections(reflect.TypeFor[Config](), nil)
	for _, s := range d.order {
		fmt.Fprintf(&d.b, "\n## %s\n\n%s\n\n| key | default | meaning | variable |\n|---|---|---|---|\n%s", s, d.about[s], strings.Join(d.rows[s], ""))
	}
	followerManual(t, &d.b)
	d.b.WriteString("\n## Without a meaning here\n\n| of IPFS Cluster | instead |\n|---|---|\n")
	for _, f := range foreigners {
		fmt.Fprintf(&d.b, "| %s | %s |\n", f.path, f.hint)
	}
	if n := len(d.defaults); n > 0 {
		t.Errorf("%d settings are not in the manual: %v", n, d.defaults)
	}
	return d.b.String()
}

const followerIntro = `
## Of a follower

A follower's settings (cluster-service follow; see collaborative.md) are the file follower.json in its directory and
the same environment. Its sections state, embedded and pin_tracker.stateless are those above. In api.restapi,
http_listen_multiaddress has no default: without it the follower is asked over the Unix socket api-socket in its
directory alone. These are a follower's own:
`

// followerManual writes what a follower's settings have that a peer's have not.
func followerManual(t *testing.T, out *strings.Builder) {
	d := docs{t: t, defaults: map[string]key{}, structs: map[string]map[string]string{}}
	f, err := Follower{Cluster: FollowerHost{PeerName: "-"}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys(reflect.ValueOf(&f).Elem(), nil) {
		d.defaults[k.String()] = k
	}
	d.sections(reflect.TypeFor[Follower](), nil)
	out.WriteString(followerIntro)
	for _, s := range []string{"follow", "cluster"} {
		fmt.Fprintf(out, "\n### %s\n\n| key | default | meaning | variable |\n|---|---|---|---|\n%s", s, strings.Join(d.rows[s], ""))
	}
}

type docs struct {
	t        *testing.T
	b        strings.Builder
	defaults map[string]key               // of settings not written yet, by path
	structs  map[string]map[string]string // comments of fields, by package and type; "" is the type's own
	order    []string                     // of sections
	about    map[string]string            // by section
	rows     map[string][]string
}

// sections collects what the manual says of the settings in values of typ.
func (d *docs) sections(typ reflect.Type, path []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, inline := jsonName(f)
		switch {
		case inline:
			d.sections(f.Type, path)
		case name == "":
		case isSection(f.Type):
			at := below(path, name)
			if _, ok := prefixes[strings.Join(at, ".")]; ok {
				d.begin(strings.Join(at, "."), f.Type)
			}
			d.sections(f.Type, at)
		default:
			d.row(typ, f, below(path, name))
		}
	}
}

func (d *docs) begin(section string, typ reflect.Type) {
	if d.about == nil {
		d.about, d.rows = map[string]string{}, map[string][]string{}
	}
	d.order = append(d.order, section)
	d.about[section] = aboutSections[section]
	if d.about[section] == "" {
		d.t.Errorf("aboutSections does not tell what %s is", section)
	}
}

// aboutSections tell what the settings are about, for operators.
var aboutSections = map[string]string{
	"cluster":                 "The peer and the cluster as a whole: names, the network between peers, copies and their repair.",
	"consensus.raft":          "The replicated log that the peers agree by.",
	"state":                   "The database of the pinset.",
	"api.restapi":             "The REST API. It listens on loopback only unless told otherwise.",
	"api.pinsvcapi":           "The IPFS Pinning Service API, for `ipfs pin remote` and the like. It listens on loopback only unless told otherwise.",
	"api.ipfsproxy":           "The RPC API of an IPFS node, for `ipfs --api`, kubo-rpc-client and the WebUI: adds and pins are the cluster's. It listens on loopback only unless told otherwise.",
	"ipfs_connector.ipfshttp": "A Kubo daemon instead of the IPFS node in this process.",
	"embedded":                "The IPFS node in this process, and the host that carries blocks between peers with either node.",
	"metrics":                 "The door for Prometheus.",
	"pin_tracker.stateless":   "How this peer makes its node hold what it is to hold.",
	"monitor.pubsubmon":       "How dead peers are noticed; see cluster.monitor_ping_interval too.",
	"informer.tags":           "What a peer tells of itself.",
	"followers":               "What this peer does for followers; see collaborative.md.",
	"follow":                  "What a follower does for its cluster.",
}

func (d *docs) row(owner reflect.Type, f reflect.StructField, path []string) {
	at := strings.Join(path, ".")
	k, ok := d.defaults[at]
	if !ok {
		d.t.Fatalf("%s is no setting", at)
	}
	delete(d.defaults, at)
	section := d.order[len(d.order)-1]
	key := strings.TrimPrefix(at, section+".")
	value := defaultText(k.field)
	if at == "cluster.peername" {
		value = "the machine's name"
	}
	meaning := withoutDefault(withoutSubject(d.comment(owner, f), jsonTag(f)), value, k.field)
	d.rows[section] = append(d.rows[section], fmt.Sprintf("| `%s` | %s | %s | %s |\n", key, cell(value), cell(meaning), envName(path)))
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// defaultText gives a default in the words that comments use; "" is none.
func defaultText(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	switch {
	case v.Type() == durationType:
		return shortDuration(time.Duration(v.Int()))
	case v.CanInt() && v.Int() >= mib && v.Int()%mib == 0:
		return strconv.FormatInt(v.Int()/mib, 10) + " MiB"
	case v.CanUint() && v.Uint() >= mib && v.Uint()%mib == 0:
		return strconv.FormatUint(v.Uint()/mib, 10) + " MiB"
	case v.Kind() == reflect.Slice && v.Len() == 1:
		return fmt.Sprint(v.Index(0))
	}
	text, err := valueJSON(v)
	if err != nil {
		panic(err)
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return string(text)
}

func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func jsonTag(f reflect.StructField) string {
	name, _ := jsonName(f)
	return name
}

// withoutSubject cuts the name of the key off a comment that begins with it: it has a
// column of its own.
func withoutSubject(comment, name string) string {
	rest, ok := strings.CutPrefix(comment, "`"+name+"` ")
	if !ok || strings.HasPrefix(rest, "and ") {
		return comment
	}
	for _, verb := range []string{"is ", "are "} {
		if rest, ok := strings.CutPrefix(rest, verb); ok {
			return rest
		}
	}
	return rest
}

// withoutDefault cuts the default off a comment such as "pins fetching at once; 10",
// since it has a column of its own.
func withoutDefault(comment, value string, v reflect.Value) string {
	text, err := valueJSON(v)
	if err != nil {
		panic(err)
	}
	forms := []string{value, string(text), strings.ReplaceAll(string(text), ",", ", "), strings.ReplaceAll(string(text), ":", ": ")}
	if v.CanInt() {
		forms = append(forms, thousands(v.Int()))
	}
	for _, form := range forms {
		if form == "" || form == `""` {
			continue
		}
		if i := strings.Index(comment+".", "; "+form+"."); i >= 0 {
			comment = strings.TrimSuffix(comment[:i]+(comment + ".")[i+2+len(form):], ".")
			break
		}
		if comment == form {
			return ""
		}
	}
	return comment
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// comment gives what the source says of field f of the struct typ, with keys for
// the names of fields.
func (d *docs) comment(typ reflect.Type, f reflect.StructField) string {
	id := typ.PkgPath() + "." + typ.Name()
	if d.structs[id] == nil {
		d.structs[id] = structComments(d.t, typ)
	}
	text := d.structs[id][f.Name]
	if text == "" {
		d.t.Errorf("%s.%s has no comment", id, f.Name)
	}
	for i := range typ.NumField() {
		other := typ.Field(i)
		if name, _ := jsonName(other); name != "" {
			text = regexp.MustCompile(`\b`+other.Name+`\b`).ReplaceAllString(text, "`"+name+"`")
		}
	}
	return text
}

// structComments reads the comments of typ's fields. One that has none shares that of
// the field right above it.
func structComments(t *testing.T, typ reflect.Type) map[string]string {
	dir := filepath.Join("..", strings.TrimPrefix(typ.PkgPath(), modulePath(t)))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != typ.Name() {
				return true
			}
			if fields, ok := spec.Type.(*ast.StructType); ok {
				fieldComments(fset, fields, out)
			}
			return false
		})
	}
	return out
}

func fieldComments(fset *token.FileSet, s *ast.StructType, out map[string]string) {
	last, lastLine := "", 0
	for _, f := range s.Fields.List {
		own := cmp.Or(f.Doc.Text(), f.Comment.Text())
		if own == "" && fset.Position(f.Pos()).Line == lastLine+1 {
			own = last
		}
		last, lastLine = own, fset.Position(f.End()).Line
		for _, name := range f.Names {
			out[name.Name] = strings.TrimSuffix(strings.Join(strings.Fields(own), " "), ".")
		}
	}
}

// modulePath is this module's, from this package's own path.
func modulePath(t *testing.T) string {
	path, ok := strings.CutSuffix(reflect.TypeFor[Config]().PkgPath(), "/config")
	if !ok {
		t.Fatalf("the package's path is %s", reflect.TypeFor[Config]().PkgPath())
	}
	return path
}
