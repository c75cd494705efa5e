package proxy_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

// step is a request that Kubo and the proxy answer alike.
type step struct {
	ask    string   // command and query
	files  []string // see upload
	mask   string   // fields, comma-separated, that may differ
	sorted bool     // lines, or what is in an array, come in any order
	// text is set where the answers may differ in an error's words.
	text bool
}

const (
	hello = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
	dir   = "QmPwsGj9x8K7K3mHDpM21gmvBhrzpwd4C169DcPWqPvrcw" // d: one, sub/two
	none  = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	cbor  = "bafyreihltcnuuyqp2jm24aqydpnlj7b6w3ogwrplomrjtg5rifv44mmjey" // {"a":1}
)

// A key of a test, the name that it signs, and its signature of "hello\n".
const (
	pemKey = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIC+DIs8xR/C2bR+yaTbdWVBO9yLBXaXVUVGcwmd7R5pl
-----END PRIVATE KEY-----
`
	pemName   = "k51qzi5uqu5diu156dpv9paaysycamnyz1uzdumtojlco0g0d84bqfgi29edey"
	signature = "uhYaeCrSz4DkmCJ3c9xhFI0vwKO6qxQZ2tzZyfzDedf2ob-nW4du0lroNQ53Y3so9PMiUTWtlOsr71IJDaPTHDw"
)

// inlined is the CID of "hello\n" in itself, and statDir that of statTree with its modes
// and times.
const (
	inlined = "bafyaadqkbqeaeeqgnbswy3dpbimam"
	statDir = "Qmd2po3KAy9Rjse1pgeuwiJiZgn4C3BHSbarP7Gz1eDoHX"
)

var statTree = []string{"d/?mode=020000000755&mtime=1000000000", "", "d/one?mode=0640&mtime=1100000000&mtime-nsecs=5", "one\n",
	"d/link?mode=01000000777&mtime=1200000000", "->one", "d/sub/?mode=020000000700&mtime=1300000000", "", "d/sub/two?mode=0444&mtime=1400000000", "two\n"}

var tree = []string{"d/", "", "d/one", "one\n", "d/sub/", "", "d/sub/two", "two\n"}

// golden are requests in their order: later ones build on what the first have added.
var golden = []step{
	// add
	{ask: "add", files: []string{"a.txt", "hello\n"}},
	{ask: "add?progress=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add?progress=true&wrap-with-directory=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add", files: tree},
	{ask: "add?progress=true&pin=false", files: tree},
	{ask: "add?wrap-with-directory=true&cid-version=1", files: []string{"a.txt", "hello\n", "b.txt", "b"}},
	{ask: "add?cid-version=1&raw-leaves=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?hash=blake2b-256&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?trickle=true&chunker=size-2&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?chunker=size-1&pin=false", files: []string{"a.txt", strings.Repeat("x", 400)}},
	{ask: "add?only-hash=true", files: []string{"new.txt", "never stored"}},
	{ask: "add?silent=true&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?pin=false", files: []string{"link", "->a.txt"}},
	{ask: "add?pin=false", files: []string{"empty", "", "second", "2"}},
	{ask: "add?cid-base=base32&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?pin-name=" + strings.Repeat("n", 256), files: []string{"a.txt", "hello\n"}},
	{ask: "add?chunker=size-0", files: []string{"a.txt", "hello\n"}, text: true},
	{ask: "add?hash=nothing", files: []string{"a.txt", "hello\n"}, text: true},
	// what UnixFS 1.5 keeps of files, and blocks inside CIDs
	{ask: "add?pin=false", files: statTree},
	{ask: "add?pin=false&progress=true&preserve-mode=true", files: statTree},
	{ask: "add?pin=false&preserve-mtime=true&cid-version=1", files: statTree},
	{ask: "add?preserve-mode=true&preserve-mtime=true", files: statTree},
	{ask: "add?pin=false&preserve-mode=true&preserve-mtime=true&wrap-with-directory=true", files: statTree},
	{ask: "add?pin=false&preserve-mode=true&preserve-mtime=true&trickle=true&chunker=size-2", files: statTree},
	{ask: "add?pin=false&preserve-mode=true&preserve-mtime=true&inline=true&inline-limit=128", files: statTree},
	{ask: "add?pin=false&mode=420&mtime=1000000000&mtime-nsecs=5", files: statTree},
	{ask: "add?pin=false&mode=0644&mtime=-1&preserve-mode=true&preserve-mtime=true", files: statTree},
	{ask: "add?pin=false&mode=0644&wrap-with-directory=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add?pin=false&progress=true&preserve-mtime=true", files: []string{"a.txt?mode=0640&mtime=1000000000", "hello\n", "b.txt", "b", "c.txt?mode=0600", "c", "d.txt?mtime=-5&mtime-nsecs=7", "d"}},
	{ask: "add?pin=false&preserve-mode=true", files: []string{"a.txt?mode=x", "a", "b.txt?mode=020000000755&mtime=y", "b"}},
	{ask: "add?pin=false&mode=0644&raw-leaves=false&cid-version=1", files: []string{"a.txt", "hello\n"}},
	{ask: "add?pin=false&only-hash=true&mode=0644&mtime=7", files: []string{"a.txt", "never stored with a mode"}},
	{ask: "add?mode=0644&raw-leaves=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add?preserve-mtime=true&raw-leaves=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add?mtime-nsecs=5", files: []string{"a.txt", "hello\n"}},
	{ask: "add?mtime=5&mtime-nsecs=1000000000", files: []string{"a.txt", "hello\n"}, text: true},
	{ask: "add?mode=x", files: []string{"a.txt", "hello\n"}},
	{ask: "add?mode=-1", files: []string{"a.txt", "hello\n"}},
	{ask: "add?inline=true", files: []string{"a.txt", "hello\n"}},
	{ask: "add?inline=true&cid-version=1", files: []string{"a.txt", "hello\n"}},
	{ask: "add?inline=true&cid-version=1&pin=false", files: tree},
	{ask: "add?inline=true&inline-limit=3&pin=false", files: []string{"a.txt", "hello\n", "b.txt", "b"}},
	{ask: "add?inline-limit=128&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?inline=true&inline-limit=129", files: []string{"a.txt", "hello\n"}},
	{ask: "pin/ls?arg=" + inlined},
	{ask: "cat?arg=" + inlined},
	{ask: "ls?arg=" + statDir},
	{ask: "files/stat?arg=/ipfs/" + statDir},
	{ask: "files/stat?arg=/ipfs/" + statDir + "/one"},
	{ask: "files/stat?arg=/ipfs/" + statDir + "/link"},
	{ask: "get?arg=" + statDir},
	{ask: "pin/rm?arg=" + inlined + "&arg=" + statDir},

	{ask: "add"},
	{ask: "add?cid-version=x", files: []string{"a", "b"}},
	{ask: "add?pin=maybe", files: []string{"a", "b"}},
	{ask: "add?pin=1&pin=0", files: []string{"a", "b"}},

	// cat, get, ls
	{ask: "cat?arg=" + hello},
	{ask: "cat?arg=/ipfs/" + dir + "/sub/two"},
	{ask: "cat?arg=" + hello + "&arg=/ipfs/" + dir + "/one"},
	{ask: "cat?offset=2&length=3&arg=" + hello},
	{ask: "cat?offset=7&arg=" + hello + "&arg=" + hello},
	{ask: "cat?offset=-1&arg=" + hello},
	{ask: "cat?length=-1&arg=" + hello},
	{ask: "cat?arg=" + dir},
	{ask: "cat?arg=" + dir + "/none", text: true},
	{ask: "cat?arg=nonsense", text: true},
	{ask: "cat"},
	{ask: "cat/" + hello},
	{ask: "cat", files: []string{"args", hello + "\n"}},
	{ask: "get?arg=" + hello},
	{ask: "get?arg=" + dir},
	{ask: "get?archive=true&arg=" + dir},
	{ask: "get?arg=" + dir + "/none", text: true},
	{ask: "ls?arg=" + dir},
	{ask: "ls?arg=" + dir + "&arg=/ipfs/" + dir + "/sub"},
	{ask: "ls?stream=true&arg=" + dir},
	{ask: "ls?resolve-type=false&size=false&arg=" + dir},
	{ask: "ls?arg=" + hello},
	{ask: "ls?stream=true&arg=" + hello},
	{ask: "ls?cid-base=base32&arg=" + dir},
	{ask: "ls"},

	// refs, resolve
	{ask: "refs?arg=" + dir},
	{ask: "refs?recursive=true&arg=" + dir},
	{ask: "refs?recursive=true&unique=true&arg=" + dir + "&arg=" + dir},
	{ask: "refs?recursive=true&max-depth=1&arg=" + dir},
	{ask: "refs?edges=true&recursive=true&arg=" + dir},
	{ask: "refs?format=%3Clinkname%3E&recursive=true&arg=" + dir},
	{ask: "refs?edges=true&format=x&arg=" + dir},
	{ask: "resolve?arg=/ipfs/" + dir + "/sub/two"},
	{ask: "resolve?arg=/ipfs/bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
	{ask: "resolve?arg=/ipfs/" + dir + "/none", text: true},
	{ask: "resolve?arg=/ipns/nothing.invalid", text: true},

	// block
	{ask: "block/put", files: []string{"b", "some block"}},
	{ask: "block/put?cid-codec=dag-pb&mhtype=sha2-512", files: []string{"b", "some block"}},
	{ask: "block/put?format=v0", files: []string{"b", "some block"}},
	{ask: "block/put?format=v0&mhtype=sha3", files: []string{"b", "some block"}, text: true},
	{ask: "block/put?mhtype=nothing", files: []string{"b", "some block"}},
	{ask: "block/put?cid-codec=nothing", files: []string{"b", "some block"}, text: true},
	{ask: "block/put?pin=true", files: []string{"b", "pinned block"}},
	{ask: "block/put"},
	{ask: "block/get?arg=" + hello},
	{ask: "block/stat?arg=" + hello},
	{ask: "block/stat?arg=/ipfs/" + dir + "/one"},
	{ask: "block/get"},
	{ask: "block/rm?arg=" + hello},
	{ask: "block/rm?arg=QmUB9Nr7RpqNYQpyh4W9r3RQNttiPQ6BQ9iQLkw9LztJFz", mask: "Error"},
	{ask: "block/rm?arg=" + none},
	{ask: "block/rm?force=true&arg=" + none},

	// dag
	{ask: "dag/put", files: []string{"n", `{"a":1}`}},
	{ask: "dag/put?store-codec=dag-json", files: []string{"n", `{"a":{"/":"` + cbor + `"}}`}},
	{ask: "dag/put?pin=true", files: []string{"n", `{"p":{"/":"` + cbor + `"},"q":{"r":[1,2]}}`}},
	{ask: "dag/put?store-codec=dag-pb", files: []string{"n", `{"Data":{"/":{"bytes":"CAE"}},"Links":[]}`}},
	{ask: "dag/put?input-codec=nothing", files: []string{"n", `{}`}, text: true},
	{ask: "dag/put", files: []string{"n", `{"a":x}`}, text: true},
	{ask: "dag/put"},
	{ask: "dag/get?arg=" + cbor},
	{ask: "dag/get?arg=" + cbor + "/a"},
	{ask: "dag/get?arg=" + dir},
	{ask: "dag/get?output-codec=dag-cbor&arg=" + cbor},
	{ask: "dag/get?output-codec=nothing&arg=" + cbor, text: true},
	{ask: "dag/get?arg=" + hello},
	{ask: "dag/resolve?arg=" + dir + "/sub"},
	{ask: "dag/resolve?arg=" + cbor + "/a"},
	{ask: "dag/stat?arg=" + dir},
	{ask: "dag/stat?progress=false&arg=" + dir + "&arg=" + dir + "/sub"},
	{ask: "dag/export?arg=" + dir},
	{ask: "dag/export?arg=" + hello},
	{ask: "dag/export?local-only=true&arg=" + dir},
	{ask: "dag/import", files: []string{"c", "no CAR"}, text: true},

	// pin
	{ask: "pin/add?arg=" + hello},
	{ask: "pin/add?name=n1&arg=" + hello + "&arg=/ipfs/" + dir + "/sub"},
	{ask: "pin/add?name=" + strings.Repeat("n", 256) + "&arg=" + hello},
	{ask: "pin/add?recursive=false&arg=" + dir + "/one"},
	{ask: "pin/add?recursive=false&arg=" + hello, mask: "Message"},
	{ask: "pin/add"},
	{ask: "pin/ls?type=recursive"},
	{ask: "pin/ls?type=direct"},
	{ask: "pin/ls?type=indirect"},
	{ask: "pin/ls"},
	{ask: "pin/ls?names=true"},
	{ask: "pin/ls?name=n1"},
	{ask: "pin/ls?stream=true&names=true", sorted: true},
	{ask: "pin/ls?stream=true&type=direct"},
	{ask: "pin/ls?quiet=true&type=direct"},
	{ask: "pin/ls?type=nothing"},
	{ask: "pin/ls?arg=" + hello},
	{ask: "pin/ls?names=true&arg=" + hello},
	{ask: "pin/ls?arg=" + dir + "/sub/two", text: true},
	{ask: "pin/ls?type=direct&arg=" + hello},
	{ask: "pin/ls?arg=" + none},
	{ask: "pin/ls?stream=true&arg=" + hello},
	{ask: "pin/verify?verbose=true", sorted: true},
	{ask: "pin/verify"},
	{ask: "pin/verify?verbose=true&quiet=true"},
	{ask: "pin/update?arg=" + hello + "&arg=" + hello},
	{ask: "pin/update?arg=" + hello},
	{ask: "pin/update?arg=" + none + "&arg=" + hello},
	{ask: "pin/update?arg=" + hello + "&arg=" + dir},
	{ask: "pin/update?arg=" + hello + "&arg=" + cbor},
	{ask: "pin/ls?names=true&type=recursive"},
	{ask: "pin/rm?arg=" + hello},
	{ask: "pin/rm?recursive=false&arg=" + cbor},
	{ask: "pin/rm?arg=" + cbor},
	{ask: "pin/rm?arg=" + none},
	{ask: "pin/rm"},
	{ask: "pin/ls?type=recursive"},
	{ask: "pin/remote/service/ls?stat=true"},

	// files
	{ask: "files/ls"},
	{ask: "files/stat?arg=/"},
	{ask: "files/mkdir?arg=/m"},
	{ask: "files/mkdir?arg=/m"},
	{ask: "files/mkdir?parents=true&arg=/m/n/o"},
	{ask: "files/mkdir?arg=/x/y"},
	{ask: "files/mkdir?arg=relative"},
	{ask: "files/mkdir?arg="},
	{ask: "files/mkdir?cid-version=1&arg=/v1"},
	{ask: "files/write?create=true&arg=/m/w", files: []string{"data", "written"}},
	{ask: "files/write?create=true&parents=true&arg=/deep/er/w", files: []string{"data", "written"}},
	{ask: "files/write?offset=2&arg=/m/w", files: []string{"data", "XX"}},
	{ask: "files/write?truncate=true&count=3&arg=/m/w", files: []string{"data", "shorter"}},
	{ask: "files/write?arg=/m/none", files: []string{"data", "x"}},
	{ask: "files/write?arg=/m", files: []string{"data", "x"}},
	{ask: "files/write?offset=-1&arg=/m/w", files: []string{"data", "x"}},
	{ask: "files/write?create=true&raw-leaves=true&cid-version=1&arg=/m/raw", files: []string{"data", "raw"}},
	{ask: "files/write?arg=/m/w"},
	{ask: "files/read?arg=/m/w"},
	{ask: "files/read?offset=1&count=1&arg=/m/w"},
	{ask: "files/read?offset=99&arg=/m/w"},
	{ask: "files/read?count=-1&arg=/m/w"},
	{ask: "files/read?arg=/m"},
	{ask: "files/read?arg=/none"},
	{ask: "files/cp?arg=/ipfs/" + dir + "&arg=/copied"},
	{ask: "files/cp?arg=/ipfs/" + hello + "&arg=/m/"},
	{ask: "files/cp?arg=/ipfs/" + hello + "&arg=/m/"},
	{ask: "files/cp?force=true&arg=/ipfs/" + dir + "/one&arg=/m/w"},
	{ask: "files/cp?parents=true&arg=/m/w&arg=/p/q/r"},
	{ask: "files/cp?arg=/none&arg=/m/z"},
	{ask: "files/cp?arg=/ipfs/" + cbor + "&arg=/m/cbor"},
	{ask: "files/cp?arg=/m/w"},
	{ask: "files/mv?arg=/copied&arg=/moved"},
	{ask: "files/mv?arg=/none&arg=/moved"},
	{ask: "files/mv?arg=/m/w&arg=/moved/"},
	{ask: "files/ls?long=true"},
	{ask: "files/ls?arg=/m", sorted: true},
	{ask: "files/ls?long=true&arg=/moved/w"},
	{ask: "files/ls?arg=/none"},
	{ask: "files/stat?arg=/moved"},
	{ask: "files/stat?with-local=true&arg=/moved"},
	{ask: "files/stat?hash=true&arg=/moved"},
	{ask: "files/stat?hash=true&size=true&arg=/moved"},
	{ask: "files/stat?arg=/ipfs/" + dir + "/one"},
	{ask: "files/stat?arg=/none"},
	{ask: "files/stat"},
	{ask: "files/flush"},
	{ask: "files/flush?arg=/m"},
	{ask: "files/chcid?cid-version=1&arg=/m"},
	{ask: "files/chcid?cid-version=1&arg=/"},
	{ask: "files/chcid?hash=nothing&arg=/m"},
	{ask: "files/stat?arg=/m"},
	{ask: "files/chmod?arg=0644&arg=/moved/one"},
	{ask: "files/touch?mtime=1700000000&arg=/moved/one"},
	{ask: "files/stat?arg=/moved/one"},
	{ask: "files/rm?arg=/m"},
	{ask: "files/rm?arg=/none"},
	{ask: "files/rm?force=true&arg=/none"},
	{ask: "files/rm?arg=/"},
	{ask: "files/rm?flush=false&arg=/moved/one"},
	{ask: "files/rm?recursive=true&arg=/m&arg=/p"},
	{ask: "files/stat?arg=/"},
	{ask: "add?to-files=/added.txt&pin=false", files: []string{"a.txt", "hello\n"}},
	{ask: "add?to-files=/moved/&pin=false", files: []string{"in.txt", "hello\n"}},
	{ask: "add?to-files=/nowhere/x&pin=false", files: []string{"in.txt", "hello\n"}, text: true},
	{ask: "add?to-files=/moved/&pin=false&preserve-mode=true&preserve-mtime=true", files: statTree},
	{ask: "files/stat?arg=/moved/d"},
	{ask: "files/stat?arg=/moved/d/one"},
	{ask: "files/stat?arg=/moved/d/link"},
	{ask: "files/ls?long=true&arg=/moved/d"},
	{ask: "files/rm?recursive=true&arg=/moved/d"},
	{ask: "files/stat?arg=/added.txt"},
	{ask: "files/stat?arg=/moved/in.txt"},

	// key, name
	{ask: "key/list", mask: "Id"},
	{ask: "key/gen?arg=k1", mask: "Id"},
	{ask: "key/gen?arg=k1"},
	{ask: "key/gen?arg=self"},
	{ask: "key/gen?type=rsa&size=100&arg=k2", text: true},
	{ask: "key/gen?type=nothing&arg=k2"},
	{ask: "key/rename?arg=k1&arg=k2", mask: "Id"},
	{ask: "key/rename?arg=none&arg=k2"},
	{ask: "key/rename?arg=self&arg=k2"},
	{ask: "key/list?l=true", mask: "Id"},
	{ask: "name/publish?allow-offline=true&arg=/ipfs/" + dir, mask: "Name"},
	{ask: "name/publish?allow-offline=true&key=k2&arg=/ipfs/" + dir, mask: "Name"},
	{ask: "name/publish?allow-offline=true&key=none&arg=/ipfs/" + dir, text: true},
	{ask: "name/publish?allow-offline=true&lifetime=x&arg=/ipfs/" + dir, text: true},
	{ask: "name/resolve"},
	{ask: "name/resolve?arg=12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF", text: true},
	{ask: "key/rm?arg=k2", mask: "Id"},
	{ask: "key/rm?arg=k2"},

	// the node
	{ask: "version", mask: "Golang,System"},
	{ask: "repo/version"},
	{ask: "repo/stat", mask: "RepoSize,StorageMax,NumObjects,RepoPath"},
	{ask: "repo/stat?size-only=true", mask: "RepoSize,StorageMax"},
	{ask: "bootstrap/list"},
	{ask: "id?peerid-base=nothing", text: true},

	// CIDs and bases
	{ask: "cid/bases", sorted: true},
	{ask: "cid/codecs", sorted: true},
	{ask: "cid/hashes", sorted: true},
	{ask: "multibase/list", sorted: true},
	{ask: "cid/base32?arg=" + hello + "&arg=" + cbor + "&arg=x"},
	{ask: "cid/base32", files: []string{"args", hello + "\n" + none + "\n"}},
	{ask: "cid/base32"},
	{ask: "cid/format?arg=" + hello},
	{ask: "cid/format?f=%25b-%25v-%25c-%25h-%25L-%25D-%25M-%25P&arg=" + hello + "&arg=" + none},
	{ask: "cid/format?b=base36&arg=" + hello},
	{ask: "cid/format?v=0&arg=" + cbor},
	{ask: "cid/format?v=0&mc=raw&arg=" + hello},
	{ask: "cid/format?v=2&arg=" + hello},
	{ask: "cid/format?mc=nothing&arg=" + hello},
	{ask: "cid/format?f=x&arg=" + hello},
	{ask: "cid/format?f=%25z&arg=" + hello},
	{ask: "cid/inspect?arg=" + hello},
	{ask: "cid/inspect?arg=" + cbor},
	{ask: "cid/inspect?arg=12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF"},
	{ask: "cid/inspect?arg=x"},
	{ask: "multibase/encode", files: []string{"f", "hello\n"}},
	{ask: "multibase/encode?b=base16", files: []string{"f", "hello\n"}},
	{ask: "multibase/encode?b=nothing", files: []string{"f", "hello\n"}},
	{ask: "multibase/decode", files: []string{"f", "uaGVsbG8"}},
	{ask: "multibase/decode", files: []string{"f", "?"}},
	{ask: "multibase/transcode?b=base16", files: []string{"f", "uaGVsbG8"}},
	{ask: "multibase/encode"},

	// keys and names in files
	{ask: "key/ls", mask: "Id"},
	{ask: "key/import?arg=imported&format=pem-pkcs8-cleartext", files: []string{"k", pemKey}},
	{ask: "key/import?arg=imported&format=pem-pkcs8-cleartext", files: []string{"k", pemKey}},
	{ask: "key/import?arg=other", files: []string{"k", pemKey}},
	{ask: "key/import?arg=other", files: []string{"k", "nonsense"}, text: true},
	{ask: "key/import?arg=other&format=pem-pkcs8-cleartext", files: []string{"k", "nonsense"}},
	{ask: "key/import?arg=other&format=nothing", files: []string{"k", pemKey}},
	{ask: "key/import?arg=self", files: []string{"k", pemKey}},
	{ask: "key/import?arg=other"},
	{ask: "key/sign?key=imported", files: []string{"d", "hello\n"}},
	{ask: "key/sign?key=none", files: []string{"d", "hello\n"}, text: true},
	{ask: "key/verify?key=imported&signature=" + signature, files: []string{"d", "hello\n"}},
	{ask: "key/verify?key=" + pemName + "&signature=" + signature, files: []string{"d", "hello\n"}},
	{ask: "key/verify?key=imported&signature=" + signature, files: []string{"d", "other\n"}},
	{ask: "key/verify?key=imported&signature=", files: []string{"d", "hello\n"}},
	{ask: "key/verify?key=none&signature=" + signature, files: []string{"d", "hello\n"}},
	{ask: "key/export?arg=imported"},
	{ask: "name/inspect", files: []string{"r", "nonsense"}, text: true},
	{ask: "name/get?arg=" + pemName, text: true}, // this Kubo is off line
	{ask: "name/get?arg=x", text: true},
	{ask: "name/put?arg=" + pemName + "&allow-offline=true", files: []string{"r", "nonsense"}, text: true},
	{ask: "name/put?arg=" + pemName + "&allow-offline=true", files: []string{"r", ""}},
	{ask: "name/put?arg=" + pemName + "&allow-offline=true&allow-delegated=true", files: []string{"r", "x"}},
	{ask: "name/pubsub/state"},
	{ask: "name/pubsub/subs"},
	{ask: "name/pubsub/cancel?arg=x"},

	// what the cluster or nobody does
	{ask: "routing/findprovs?num-providers=0&arg=" + hello, text: true},
	{ask: "routing/findprovs?arg=x", text: true},
	{ask: "routing/findprovs"},
	{ask: "routing/get?arg=x", text: true},
	{ask: "routing/get?arg=/ipns/x", text: true},
	{ask: "log/level"},
	{ask: "log/level?arg=all&arg=loud"},
	{ask: "log/level?arg=nobody"},
	{ask: "log/level?arg=all&arg=error"},
	{ask: "log/tail?log-level=loud"},
	{ask: "object/stat?arg=" + hello},
	{ask: "object/new"},
	{ask: "object/diff"},
	{ask: "object/diff?arg=" + dir + "&arg=" + dir},
	{ask: "object/diff?arg=" + dir + "/sub&arg=" + dir},
	{ask: "object/patch/add-link?arg=" + dir + "&arg=more&arg=" + hello},
	{ask: "object/patch/add-link?arg=" + dir + "&arg=x/y&arg=" + hello},
	{ask: "object/patch/add-link?create=true&arg=" + dir + "&arg=x/y&arg=" + hello},
	{ask: "object/patch/add-link?arg=" + hello + "&arg=more&arg=" + hello, text: true},
	{ask: "object/patch/add-link?allow-non-unixfs=true&arg=" + hello + "&arg=more&arg=" + hello},
	{ask: "object/patch/add-link?arg=" + cbor + "&arg=more&arg=" + hello},
	{ask: "object/patch/rm-link?arg=" + dir + "&arg=sub"},
	{ask: "object/patch/rm-link?arg=" + dir + "&arg=none"},
	{ask: "object/patch/rm-link?arg=" + dir},
	{ask: "object"},
	{ask: "config?arg=No.Such.Key"},
	{ask: "config?arg=Addresses.No"},
	{ask: "dht/findprovs?arg=" + hello},
	{ask: "dht/query"},
	{ask: "filestore/ls"},
	{ask: "filestore/verify?arg=" + hello},
	{ask: "pubsub/ls"},
	{ask: "pubsub/sub?arg=ueA"},
	{ask: "pubsub/sub"},
	{ask: "p2p/ls"},
	{ask: "p2p/listen?arg=/x/a&arg=/ip4/127.0.0.1/tcp/1"},
	{ask: "pin/remote/ls"},
	{ask: "pin/remote/ls?service=none"},
	{ask: "pin/remote/add?service=none&arg=" + hello},
	{ask: "pin/remote/rm?service=none"},
	{ask: "pin/remote/service/add"},
	{ask: "pin/remote/service/add?arg=one&arg=nonsense&arg=key"},
	{ask: "pin/remote/service/add?arg=one&arg=http://127.0.0.1:1/pins&arg=key"},
	{ask: "pin/remote/service/add?arg=one&arg=http://127.0.0.1:1/?q&arg=key"},
	{ask: "pin/remote/service/add?arg=one&arg=http://127.0.0.1:1//a/&arg=key"},
	{ask: "pin/remote/service/add?arg=one&arg=http://127.0.0.1:1&arg=key"},
	{ask: "pin/remote/service/ls"},
	{ask: "pin/remote/service/ls?stat=true"},
	{ask: "pin/remote/ls?service=one&status=nonsense"},
	{ask: "pin/remote/ls?service=one&cid=nonsense"},
	{ask: "pin/remote/ls?service="},
	{ask: "pin/remote/service/rm?arg=one"},
	{ask: "pin/remote/service/rm?arg=one"},
	{ask: "pin/remote/service/ls"},
	{ask: "swarm/peering/add"},
	{ask: "provide/clear"},
	{ask: "provide/once"},
	{ask: "diag/healthy"},
	{ask: "config/replace"},
	{ask: "bitswap/ledger?arg=x", text: true},
	{ask: "update/check"},
	{ask: "mount/x", text: true},

	// what is not a command
	{ask: "nothing"},
	{ask: "object/nothing"},
	{ask: "pin"},
	{ask: "files"},
	{ask: "version?encoding=nothing"},
	{ask: "block/stat?cid-base=nothing&arg=" + hello},
	{ask: "block/stat?timeout=1ns&arg=" + none, text: true},
}

// Kubo and the proxy over the embedded node answer alike.
func TestGolden(t *testing.T) {
	ours, _ := open(t)
	kubo := kuboURL(t)
	post(t, kubo, "pin/rm?arg=QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn") // which its init has pinned
	for i, s := range golden {
		t.Run(fmt.Sprintf("%d %s", i, s.ask[:min(len(s.ask), 60)]), func(t *testing.T) {
			want, got := post(t, kubo, s.ask, s.files...), post(t, ours, s.ask, s.files...)
			if s.text && want.status == got.status && got.status >= 400 {
				return
			}
			for _, name := range []string{"Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"} {
				if w, g := want.header.Get(name), got.header.Get(name); w != g {
					t.Errorf("%s: got %q, want %q", name, g, w)
				}
			}
			w, g := normal(want.body, s), normal(got.body, s)
			if want.status != got.status || w != g || !s.text && want.trailer != got.trailer {
				t.Errorf("got %d\n%s(trailer %q)\nwant %d\n%s(trailer %q)", got.status, g, got.trailer, want.status, w, want.trailer)
			}
		})
	}
}

func kuboURL(t *testing.T) string {
	t.Helper()
	m, err := multiaddr.NewMultiaddr(kubotest.Daemon(t))
	if err != nil {
		t.Fatal(err)
	}
	_, host, err := manet.DialArgs(m)
	if err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "http", Host: host}).String()
}

// normal gives JSON lines with their keys in order and what may differ left out; other
// text as it is.
func normal(body string, s step) string {
	if list, ok := listTar(body); ok {
		return list
	}
	var lines []string
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	for dec.More() {
		var v any
		if err := dec.Decode(&v); err != nil {
			return fmt.Sprintf("%q\n", body)
		}
		for field := range strings.SplitSeq(s.mask, ",") {
			mask(v, field)
		}
		all, ok := v.([]any)
		if !ok || !s.sorted {
			all = []any{v}
		}
		for _, v := range all {
			line, _ := json.Marshal(v) // it was JSON
			lines = append(lines, string(line)+"\n")
		}
	}
	if s.sorted {
		slices.Sort(lines)
	}
	return strings.Join(lines, "")
}

// listTar gives what is in a tape archive, but for the times.
func listTar(body string) (string, bool) {
	var list strings.Builder
	for r := tar.NewReader(strings.NewReader(body)); ; {
		h, err := r.Next()
		if err != nil {
			return list.String(), errors.Is(err, io.EOF) && list.Len() > 0
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return "", false
		}
		fmt.Fprintf(&list, "%s %c %o %d %v %q\n", h.Name, h.Typeflag, h.Mode, h.Size, h.Format, content)
	}
}

func mask(v any, field string) {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if k == field {
				v[k] = "*"
			}
			mask(v[k], field)
		}
	case []any:
		for _, e := range v {
			mask(e, field)
		}
	}
}
