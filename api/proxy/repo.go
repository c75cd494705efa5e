package proxy

import (
	"errors"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

var repoStatOptions = []option{opt(boolean, "size-only", "s"), opt(boolean, "human", "H")}

var repoCommands = []*command{
	{path: "repo"},
	{path: "repo/stat", run: (*call).repoStat, options: repoStatOptions},
	{path: "repo/gc", run: (*call).repoGC, endless: true, options: []option{
		opt(boolean, "stream-errors"), opt(boolean, "quiet", "q"), opt(boolean, "silent"),
	}},
}

var nativeRepoCommands = []*command{
	{path: "repo/version", run: (*call).repoVersion, options: []option{opt(boolean, "quiet", "q")}},
	{path: "repo/verify", run: (*call).repoVerify, endless: true, options: []option{
		opt(boolean, "drop"), opt(boolean, "heal"), opt(text, "heal-timeout").or("30s"),
	}},
	{path: "stats"},
	{path: "stats/repo", run: (*call).repoStat, options: repoStatOptions},
}

// repoFormat is the version of the repository whose commands these are: Kubo 0.42's.
const repoFormat = "18"

type repoStat struct {
	RepoSize, StorageMax uint64
	NumObjects           uint64
	RepoPath             string
	Version              string
}

// repoStat tells the room on all peers together. The blocks counted are this node's.
func (c *call) repoStat() error {
	var out repoStat
	stats, err := c.Room.RepoStats(c.ctx)
	for _, s := range stats {
		out.RepoSize += s.RepoSize
		out.StorageMax += s.StorageMax
	}
	if len(stats) == 0 && err != nil {
		return err
	}
	if err != nil {
		c.log.Warn("some peers did not tell their room", "err", err)
	}
	if c.boolean("size-only") {
		return c.once(out)
	}
	out.Version = "fs-repo@" + repoFormat
	if c.Node != nil {
		n, err := c.Node.CountStored(c.ctx)
		if err != nil {
			return err
		}
		out.NumObjects = uint64(n)
	}
	return c.once(out)
}

// gcLine is one removed block, or an error.
type gcLine struct {
	Error string `json:",omitempty"`
	Key   *link  `json:",omitempty"`
}

// link is a CID as IPLD writes it.
type link struct {
	Cid string `json:"/"`
}

func linkTo(c cid.Cid) *link { return &link{c.String()} }

// repoGC collects on all peers, and tells of each block while others are being removed.
func (c *call) repoGC() error {
	if err := c.begin(); err != nil {
		return err
	}
	var failed []error
	tell := func(text string) error {
		failed = append(failed, errors.New(text))
		if c.boolean("stream-errors") {
			return c.emit(gcLine{Error: text})
		}
		return nil
	}
	err := c.GC.GCEach(c.ctx, func(peer api.RepoGC) (err error) {
		for _, k := range peer.Keys {
			switch {
			case k.Error != "":
				err = tell(k.Error)
			case !c.boolean("silent"):
				err = c.emit(gcLine{Key: linkTo(k.Key.Cid)})
			}
			if err != nil {
				return err
			}
		}
		if peer.Error != "" {
			return tell(peer.PeerName + ": " + peer.Error)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(failed) > 0 && c.boolean("stream-errors") {
		return errors.New("encountered errors during gc run")
	}
	return errors.Join(failed...)
}

func (c *call) repoVersion() error {
	return c.once(struct{ Version string }{repoFormat})
}

// verifyLine tells how many blocks were looked at, or what is wrong with one.
type verifyLine struct {
	Msg      string
	Progress int
}

// verifyEvery is how many blocks one line of progress stands for.
const verifyEvery = 100

// repoVerify reads every block of the node and hashes it.
func (c *call) repoVerify() error {
	if c.boolean("drop") || c.boolean("heal") {
		return api.Unsupported.Errorf("blocks are not removed by repo verify here: pins/recover gets them anew")
	}
	if err := c.begin(); err != nil {
		return err
	}
	bs := c.Node.Reader(false).Blockstore()
	n, broken := 0, 0
	for x, err := range c.Node.Stored(c.ctx) {
		if err != nil {
			return err
		}
		n++
		b, err := bs.Get(c.ctx, x)
		if format.IsNotFound(err) {
			continue // collected meanwhile
		}
		if err == nil {
			err = matches(b.RawData(), x)
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err != nil {
			broken++
			err = c.emit(verifyLine{Msg: "block " + x.String() + " was corrupt (" + err.Error() + ")", Progress: n})
		} else if n%verifyEvery == 0 {
			err = c.emit(verifyLine{Progress: n})
		}
		if err != nil {
			return err
		}
	}
	if broken > 0 {
		return api.Internal.Errorf("verify complete, some blocks were corrupt")
	}
	return c.emit(verifyLine{Msg: "verify complete, all blocks validated."})
}

func matches(data []byte, want cid.Cid) error {
	got, err := want.Prefix().Sum(data)
	if err == nil && !got.Equals(want) {
		err = errors.New("block in storage has different hash than requested")
	}
	return err
}
