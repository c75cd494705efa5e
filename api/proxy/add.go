package proxy

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/mfs"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

var addCommands = []*command{
	{path: "add", run: (*call).add, endless: true, args: []argument{{name: "path", file: true}}, options: append([]option{
		opt(boolean, "recursive", "r"), opt(boolean, "hidden", "H"), opt(text, "stdin-name"), opt(boolean, "dereference-args"),
		opt(boolean, "dereference-symlinks"), opt(texts, "ignore"), opt(text, "ignore-rules-path"),
		opt(boolean, "empty-dirs", "E").or(true), opt(boolean, "quiet", "q"), opt(boolean, "quieter", "Q"), opt(boolean, "silent"),
		opt(boolean, "progress", "p"), opt(boolean, "only-hash", "n"), opt(boolean, "wrap-with-directory", "w"),
		opt(boolean, "pin").or(true), opt(text, "pin-name"), opt(text, "to-files"), opt(integer, "cid-version"), opt(text, "hash"),
		opt(boolean, "raw-leaves"), opt(text, "chunker", "s"), opt(boolean, "trickle", "t"), opt(integer, "max-file-links"),
		opt(integer, "max-directory-links"), opt(integer, "max-hamt-fanout"), opt(boolean, "inline"),
		opt(integer, "inline-limit").or(int64(32)), opt(boolean, "nocopy"), opt(boolean, "fscache"), opt(boolean, "preserve-mode"),
		opt(boolean, "preserve-mtime"), opt(unsigned, "mode"), opt(long, "mtime"), opt(unsigned, "mtime-nsecs"),
		opt(boolean, "fast-provide-root"), opt(boolean, "fast-provide-dag"), opt(boolean, "fast-provide-wait"),
	}, clusterAddOptions...)},
}

// clusterAddOptions are those of an add to IPFS Cluster.
var clusterAddOptions = []option{
	opt(boolean, "no-pin"), opt(boolean, "local"), opt(text, "layout"), opt(text, "format"),
}

// addLine is one line of an add's answer: of progress, with Bytes, or of a node.
type addLine struct {
	Name  string
	Hash  string `json:",omitempty"`
	Bytes uint64 `json:",omitempty"`
	Size  string `json:",omitempty"`
	// Of the entry that the node belongs to, as the client has sent them.
	Mode       string `json:",omitempty"`
	Mtime      int64  `json:",omitempty"`
	MtimeNsecs int    `json:",omitempty"`
}

func (c *call) add() error {
	p, err := c.addParams()
	if err != nil {
		return err
	}
	to := c.text("to-files")
	if c.given("to-files") {
		if to, err = checkPath(orRoot(to)); err != nil {
			return err
		}
	}
	adder := c.Adder
	if c.boolean("only-hash") {
		adder, p.NoPin, to = c.Hasher, true, ""
	}
	in := &units{Upload: c.files}
	var added []addLine // what is to go into one array
	buffered := c.opts["stream-channels"] == false
	_, err = adder.Add(c.ctx, in, p, func(o api.AddedOutput) error {
		l, root := c.addLine(in, o, p.Wrap)
		switch {
		case c.boolean("silent"):
		case buffered:
			added = append(added, l)
		default:
			if err := c.emit(l); err != nil {
				return err
			}
		}
		if root && to != "" {
			return c.intoFiles(to, l.Name, o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if buffered {
		return c.once(added)
	}
	return nil
}

// addParams reads how to add. What would give other CIDs than Kubo's is refused.
func (c *call) addParams() (api.AddParams, error) {
	p := api.DefaultAddParams()
	q, err := url.ParseQuery(c.query)
	if err != nil {
		return p, api.Invalid.Errorf("error decoding the query: %w", err)
	}
	if p.PinOptions, err = c.pinOptions(q); err != nil {
		return p, api.Invalid.Errorf("error parsing options: %w", err)
	}
	if c.boolean("nocopy") {
		return p, api.Unsupported.Errorf("option %q is not supported by this node", "nocopy")
	}
	for name, usual := range map[string]int64{"max-file-links": 174, "max-directory-links": 0, "max-hamt-fanout": 256} {
		if n, ok := c.number(name); ok && n != usual {
			return p, api.Unsupported.Errorf("option %q is not supported by this node", name)
		}
	}
	if !c.boolean("empty-dirs") {
		return p, api.Unsupported.Errorf("option %q is not supported by this node", "empty-dirs=false")
	}
	if name := c.text("pin-name"); name != "" {
		if err := checkPinName(name); err != nil {
			return p, err
		}
		p.Name = name
	}
	if s := c.text("chunker"); s != "" {
		p.Chunker = s
	}
	if s := c.text("hash"); s != "" {
		p.HashFun = strings.ToLower(s)
	}
	version, set := c.number("cid-version")
	if p.CidVersion = int(version); !set && p.HashFun != "sha2-256" {
		p.CidVersion = 1
	}
	if limit, ok := c.number("inline-limit"); ok {
		p.InlineLimit = int(limit)
	}
	p.Inline = c.boolean("inline")
	stat, err := c.addStat(&p)
	if err != nil {
		return p, err
	}
	p.RawLeaves = p.CidVersion > 0 && !stat
	if c.given("raw-leaves") {
		p.RawLeaves = c.boolean("raw-leaves")
	}
	if c.boolean("trickle") || c.text("layout") == "trickle" {
		p.Layout = "trickle"
	}
	p.Format = c.text("format")
	p.Wrap = c.boolean("wrap-with-directory")
	p.Progress = c.boolean("progress")
	p.NoPin = !c.boolean("pin") || c.boolean("no-pin")
	// What is not pinned is on its way into this node's files, or is to be read here.
	p.Local = c.boolean("local") || p.NoPin
	return p, nil
}

// addStat reads which modes and times an add keeps, and tells whether it keeps any.
func (c *call) addStat(p *api.AddParams) (bool, error) {
	p.PreserveMode, p.PreserveMtime = c.boolean("preserve-mode"), c.boolean("preserve-mtime")
	mode, _ := c.number("mode")
	p.FileMode = os.FileMode(mode)
	seconds, _ := c.number("mtime")
	nanos, _ := c.number("mtime-nsecs")
	switch {
	case nanos > 999_999_999:
		return false, api.Invalid.Errorf("mtime nanoseconds must be in range [1, 999999999]")
	case seconds != 0:
		p.FileMtime = time.Unix(seconds, nanos)
	case nanos != 0:
		return false, api.Invalid.Errorf("option %q requires %q to be provided as well", "mtime-nsecs", "mtime")
	}
	return p.PreserveMode || p.PreserveMtime || mode != 0 || seconds != 0, nil
}

// pinOptions reads the cluster's options among the parameters, which share names with
// Kubo's.
func (c *call) pinOptions(q url.Values) (api.PinOptions, error) {
	own := url.Values{}
	for key, values := range q {
		switch key {
		case "name", "replication", "replication-min", "replication-max", "user-allocations", "follower-allocations", "expire-at", "expire-in", "origins":
			own[key] = values
		default:
			if strings.HasPrefix(key, "meta-") {
				own[key] = values
			}
		}
	}
	if len(own) == 0 {
		return api.PinOptions{}, nil
	}
	return c.PinOptions(own)
}

// addLine makes the line that tells of o, and tells whether it is of a top-level entry.
func (c *call) addLine(in *units, o api.AddedOutput, wrap bool) (l addLine, root bool) {
	var u unit // of a wrapped add there is one, of which nothing is known
	if !wrap {
		u = in.current()
	}
	l = u.line()
	if !o.Cid.Defined() {
		l.Name, l.Bytes = path.Join(u.name, o.Name), o.Bytes
		return l, false
	}
	l.Name, l.Hash, l.Size = o.Name, c.cid(o.Cid.Cid), strconv.FormatUint(o.Size, 10)
	if wrap {
		return l, o.Name == ""
	}
	return l, in.ends(o.Name)
}

// intoFiles puts an added node into the tree of files, at to or, where that is a
// directory, into it.
func (c *call) intoFiles(to, name string, o api.AddedOutput) error {
	if name == "" {
		return api.Invalid.Errorf("to-files: cannot add unnamed files to MFS")
	}
	if strings.HasSuffix(to, "/") {
		to += path.Base(name)
	}
	if c.Node == nil {
		return c.intoDaemon(to, o)
	}
	node, err := c.session().Get(c.ctx, o.Cid.Cid)
	if err != nil {
		return err
	}
	return c.Node.ChangeFiles(c.ctx, func(r *mfs.Root) error {
		if _, err := mfs.Lookup(r, path.Dir(to)); err != nil {
			return fmt.Errorf("to-files: MFS destination parent %q %q does not exist: %w", to, path.Dir(to), err)
		}
		if err := mfs.PutNode(r, to, node); err != nil {
			return fmt.Errorf("to-files: cannot put node in path %q: %w", to, err)
		}
		return nil
	})
}

func orRoot(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

// units is an upload that knows the names of its top-level entries: lines of progress
// do not have them.
type units struct {
	*web.Upload
	mu    sync.Mutex
	units []unit // that were read and not ended
}

type unit struct {
	name  string
	mode  os.FileMode
	mtime time.Time
}

// line is one without what is said of a node.
func (u unit) line() (l addLine) {
	if u.mode != 0 {
		l.Mode = "0" + strconv.FormatUint(uint64(u.mode), 8)
	}
	if t := u.mtime; !t.IsZero() {
		l.Mtime, l.MtimeNsecs = t.Unix(), t.Nanosecond()
	}
	return l
}

func (u *units) Entries() files.DirIterator { return &unitEntries{u.Upload.Entries(), u} }

// current is the entry that lines are of.
func (u *units) current() unit {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.units) == 0 {
		return unit{}
	}
	return u.units[0]
}

// ends tells whether a finished node called name is the current entry, and goes on to
// the next one then.
func (u *units) ends(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.units) == 0 || u.units[0].name != name {
		return false
	}
	u.units = u.units[1:]
	return true
}

type unitEntries struct {
	files.DirIterator
	u *units
}

func (e *unitEntries) Next() bool {
	ok := e.DirIterator.Next()
	if ok {
		e.u.mu.Lock()
		defer e.u.mu.Unlock()
		n := e.Node()
		e.u.units = append(e.u.units, unit{path.Clean(e.Name()), n.Mode(), n.ModTime()})
	}
	return ok
}
