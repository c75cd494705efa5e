package embedded

import "time"

// Options tune a Node; the zero value of a field means its default.
type Options struct {
	// StorageMax bounds the blocks kept, in bytes; by default only the disk does.
	StorageMax uint64 `json:"storage_max"`
	// StorageBy is the setting that StorageMax is of, for errors; embedded.storage_max.
	StorageBy string `json:"-"`
	// DiskReserve is how much of the disk is left free, in bytes; 512 MiB.
	DiskReserve uint64 `json:"disk_reserve"`
	// RetrievalTimeout is for how long a request of the gateway waits for the next
	// block, and a path to be resolved for all of its blocks; 30s.
	RetrievalTimeout time.Duration `json:"retrieval_timeout"`
	// Stall is for how long a pin waits for the next block before it gives up; 2m.
	Stall time.Duration `json:"pin_timeout"`
	// FetchConcurrency is how many blocks one pin asks for at once; 32.
	FetchConcurrency int `json:"fetch_concurrency"`
	// CacheBytes is memory for reads of the block store; 16 MiB.
	CacheBytes int64 `json:"cache_bytes"`
	// MemTableBytes is memory for one of at most three buffers of writes; 16 MiB.
	MemTableBytes uint64 `json:"mem_table_bytes"`
	// FetchRate is how many bytes a second can come in for one pin while others are fetched
	// beside it; 0 is no bound. With few, a peer that was asked is waited for longer: what two
	// were asked for comes twice.
	FetchRate uint64 `json:"-"`
	// Wary has guests heard late, and only of what members do not give: a full peer fetches from
	// members. A guest is who came by itself and is no member; without Wary, who is no member.
	Wary bool `json:"-"`
}

// WithDefaults returns o with the defaults for what it leaves out.
func (o Options) WithDefaults() Options {
	if o.DiskReserve == 0 {
		o.DiskReserve = 512 << 20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.RetrievalTimeout == 0 {
		o.RetrievalTimeout = 30 * time.Second
	}
	if o.Stall == 0 {
		o.Stall = 2 * time.Minute
	}
	if o.FetchConcurrency == 0 {
		o.FetchConcurrency = 32
	}
	if o.FetchRate > 0 { // what is asked for at once comes within 15 s or so
		o.FetchConcurrency = min(o.FetchConcurrency, max(4, int(min(o.FetchRate, 1<<30)*15/usualBlock)))
	}
	return o
}
