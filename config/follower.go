package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/state"
)

// FollowerFile is the name of the settings' file in a follower's directory.
const FollowerFile = "follower.json"

// Follower is the settings tree of a follower. What it shares with a full peer's has the
// same names.
type Follower struct {
	Follow     Follow        `json:"follow"`
	Cluster    FollowerHost  `json:"cluster"`
	State      state.Options `json:"state"`
	API        FollowerAPI   `json:"api"`
	Embedded   Embedded      `json:"embedded"`
	PinTracker PinTracker    `json:"pin_tracker"`
}

// Follow is the section of what a follower does for its cluster. Its owner's limits, these
// and those of the other sections, stand over whatever the cluster asks for.
type Follow struct {
	// Source is the URL from which the follow link is read anew at each start; "" for a
	// link that was given itself.
	Source string `json:"source"`
	// Hold says which pins to hold: all; allocated, those that name this follower; or share,
	// as many as Capacity has room for, chosen such that all followers together cover
	// everything evenly. By default share where Capacity is set, else what the link asks
	// for, else all.
	Hold string `json:"hold"`
	// Capacity is how much to hold at most, in bytes; by default the disk alone bounds it,
	// less embedded.disk_reserve.
	Capacity uint64 `json:"capacity"`
	// PinsetMax is what the pinset itself may take on disk, beside the content, in bytes: some
	// 250 for a pin, more with much metadata. Beyond, the follower stops; 4 GiB.
	PinsetMax uint64 `json:"pinset_max"`
	// Neighbours is with how many others of the cluster this follower stays connected; 8.
	Neighbours int `json:"neighbours"`
	// GCInterval is between collections of what is no longer held; with little room left
	// they come sooner; 1h.
	GCInterval time.Duration `json:"gc_interval"`
}

// The values of Follow.Hold.
const (
	HoldAll       = "all"
	HoldAllocated = "allocated"
	HoldShare     = "share"
)

// FollowerHost is the section of a follower's cluster host. The swarm's secret and the
// members' addresses are the link's.
type FollowerHost struct {
	// PeerName is what people call the follower; the machine's name.
	PeerName string `json:"peername"`
	// Listen are the addresses to listen on; by default follow init chooses a free port. Only TCP.
	Listen []multiaddr.Multiaddr `json:"listen_multiaddress"`
	// Announce are told to others instead of the addresses listened on.
	Announce []multiaddr.Multiaddr `json:"announce_multiaddress"`
	// DialPeerTimeout bounds one attempt to connect to a peer; 3s.
	DialPeerTimeout time.Duration `json:"dial_peer_timeout"`
}

// FollowerAPI holds the section of a follower's HTTP door.
type FollowerAPI struct {
	// REST is the door to look at the follower, which changes nothing in the cluster. Its
	// addresses are listened on beside the Unix socket api-socket in the directory.
	REST web.Options `json:"restapi"`
}

func (f Follower) withDefaults() (Follower, error) {
	if f.Cluster.PeerName == "" {
		name, err := os.Hostname()
		if err != nil {
			return f, fmt.Errorf("cluster.peername is not set and the machine has no name: %w", err)
		}
		f.Cluster.PeerName = name
	}
	f.Follow.Neighbours = cmp.Or(f.Follow.Neighbours, 8)
	f.Follow.GCInterval = cmp.Or(f.Follow.GCInterval, time.Hour)
	f.Cluster.DialPeerTimeout = cmp.Or(f.Cluster.DialPeerTimeout, 3*time.Second)
	f.Follow.PinsetMax = cmp.Or(f.Follow.PinsetMax, 4<<30)
	f.State = f.State.WithDefaults()
	f.State.MaxBytes, f.State.MaxBy = f.Follow.PinsetMax, "follow.pinset_max"
	listen := f.API.REST.HTTPListenMultiaddress
	f.API.REST = f.API.REST.WithDefaults()
	f.API.REST.HTTPListenMultiaddress = listen
	f.Embedded.Data = f.Embedded.Data.WithDefaults()
	if c := f.Follow.Capacity; c > 0 { // the smaller of the two limits
		f.Embedded.Node.StorageMax = min(cmp.Or(f.Embedded.Node.StorageMax, c), c)
	}
	f.Embedded.Node = f.Embedded.Node.WithDefaults()
	f.Embedded.Gateway = f.Embedded.Gateway.WithDefaults()
	f.PinTracker.Stateless = f.PinTracker.Stateless.WithDefaults()
	return f, nil
}

// LoadFollower reads the settings of the follower in dir as Load does those of a peer.
func LoadFollower(dir string, environ []string) (f Follower, warnings []string, err error) {
	path := filepath.Join(dir, FollowerFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return f, nil, err
	}
	if f, warnings, err = parseFollower(data, environ); err != nil {
		return f, warnings, fmt.Errorf("%s: %w", path, err)
	}
	anchor(&f.API.REST, dir)
	return f, warnings, nil
}

// FollowerFromEnv makes settings from the environment alone, as a new follower starts with.
func FollowerFromEnv(environ []string) (f Follower, warnings []string, err error) {
	if f, warnings, err = parseFollower([]byte("{}"), environ); err != nil {
		err = fmt.Errorf("the environment: %w", err)
	}
	return f, warnings, err
}

func parseFollower(file []byte, environ []string) (f Follower, warnings []string, err error) {
	r := newReading(&f)
	r.readFile(file)
	r.readEnviron(environ)
	r.checkEach()
	if f, err = f.withDefaults(); err != nil {
		r.addf(nil, "%v", err)
	}
	f.checkTogether(r)
	return f, r.warnings, r.err()
}

func (f Follower) checkTogether(r *reading) {
	if f.Follow.Hold == HoldShare && f.Follow.Capacity == 0 && !r.faulty("follow.hold", "follow.capacity") {
		r.addf([]string{"follow.capacity"}, "says nothing, and follow.hold is share: say how many bytes the share may take")
	}
	data := f.Embedded.Data
	inOrder(r, "embedded.connection_manager.low_water", data.ConnectionManager.LowWater, "embedded.connection_manager.high_water", data.ConnectionManager.HighWater)
	tracker := f.PinTracker.Stateless
	inOrder(r, "pin_tracker.stateless.find_patience", tracker.Patience, "pin_tracker.stateless.find_patience_max", tracker.MaxPatience)
	inOrder(r, "pin_tracker.stateless.retry_backoff", tracker.Backoff, "pin_tracker.stateless.retry_backoff_max", tracker.MaxBackoff)
	r.checkDoor("api.restapi", f.API.REST)
	r.checkOpen("api.restapi", f.API.REST, "read what this follower has, and have it collect garbage")
}

// Save writes f to dir as Config.Save does.
func (f Follower) Save(dir string) error { return save(f, filepath.Join(dir, FollowerFile)) }

// Show gives all settings in force as JSON, without passwords.
func (f Follower) Show() ([]byte, error) { return show(&f) }

// FollowerExists tells whether dir holds a follower's settings.
func FollowerExists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, FollowerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
