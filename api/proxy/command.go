package proxy

import (
	"net/url"
	"slices"
	"time"
)

// kind is the type of an option's value.
type kind uint8

const (
	boolean  kind = iota
	integer       // of 32 bits
	long          // of 64 bits
	unsigned      // of 32 bits
	text
	texts // may be given several times
)

// kinds are what Kubo calls them.
var kinds = map[kind]string{boolean: "bool", integer: "int", long: "int64", unsigned: "uint", text: "string", texts: "array"}

// option is a query parameter of a command.
type option struct {
	kind   kind
	names  []string // the first is what the command calls it
	preset any      // its value where it is not given; nil: none
}

func opt(k kind, names ...string) option { return option{kind: k, names: names} }

// or gives o a preset value.
func (o option) or(preset any) option {
	o.preset = preset
	return o
}

// argument is one of a command's arguments, which the query gives as arg.
type argument struct {
	name     string
	optional bool
	many     bool // takes all that are left
	file     bool // comes in the body
	body     bool // may come in the body, one a line
}

// command is one command of the RPC API.
type command struct {
	path    string // such as pin/add
	args    []argument
	options []option
	// run answers. Before it has, an error is answered with 500; after, it goes into
	// the trailer. Nil for a command that only has others below it.
	run func(*call) error
	// passed tells, with a daemon behind, which requests are the daemon's all the same.
	passed func(url.Values) bool
	// endless commands take a body or give an answer whose length has no bound.
	endless bool
}

// globals are the options that every command takes.
var globals = []option{
	opt(text, "encoding", "enc").or("json"),
	opt(boolean, "stream-channels"),
	opt(text, "timeout"),
	opt(boolean, "offline"),
	opt(text, "cid-base"),
	opt(boolean, "upgrade-cidv0-in-output"),
	opt(text, "api-auth"),
	opt(text, "config", "c"),
	opt(text, "config-file"),
	opt(text, "repo-dir"),
	opt(boolean, "debug", "D"),
	opt(boolean, "help"),
	opt(boolean, "h"),
	opt(boolean, "local", "L"),
	opt(text, "api"),
}

// option finds an option of c by any of its names.
func (c *command) option(name string) (option, bool) {
	for _, list := range [][]option{c.options, globals} {
		if i := slices.IndexFunc(list, func(o option) bool { return slices.Contains(o.names, name) }); i >= 0 {
			return list[i], true
		}
	}
	return option{}, false
}

// clusterCommands are answered here whatever the node is; nativeCommands only with the
// embedded one.
var (
	clusterCommands = [][]*command{pinCommands, addCommands, repoCommands, blockPutCommands, dagPutCommands}
	nativeCommands  = [][]*command{pinVerifyCommands, nativeRepoCommands, catCommands, lsCommands, refsCommands, resolveCommands,
		blockCommands, dagCommands, filesCommands, keyCommands, nameCommands, idCommands, swarmCommands, statsCommands, miscCommands,
		keyFileCommands, nameRecordCommands, routingCommands, remoteCommands, objectCommands, diagCommands, logCommands, cidCommands, multibaseCommands, disabledCommands}
)

// limit is for how long c may run where the request sets no bound; 0 is for ever.
func (c *command) limit() time.Duration {
	if c.endless {
		return 0
	}
	return time.Hour
}
