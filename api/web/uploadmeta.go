package web

import (
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// uploadMeta is the mode and the time of what a part brings, 0 and zero where it does not
// say. They stand in the name of the form's field, file?mode=M&mtime=S&mtime-nsecs=N, as
// Kubo's clients send it; M is octal, in the bits of os.FileMode.
type uploadMeta struct {
	mode  os.FileMode
	mtime time.Time
}

// parseMeta reads the name of a field. As Kubo does, it takes what cannot be read for not
// given, and what has a mode and no time for a thing of 1970.
func parseMeta(field string) (m uploadMeta) {
	_, query, ok := strings.Cut(field, "?")
	q, err := url.ParseQuery(query)
	if !ok || err != nil {
		return m
	}
	if mode, err := strconv.ParseUint(q.Get("mode"), 8, 32); err == nil {
		m.mode = os.FileMode(mode)
	}
	var seconds int64
	if q.Has("mtime") {
		if seconds, err = strconv.ParseInt(q.Get("mtime"), 10, 64); err != nil {
			return m
		}
	}
	nanos, _ := strconv.ParseInt(q.Get("mtime-nsecs"), 10, 64) // 0 where it cannot be read
	m.mtime = time.Unix(seconds, nanos)
	return m
}

func (m uploadMeta) Mode() os.FileMode  { return m.mode }
func (m uploadMeta) ModTime() time.Time { return m.mtime }
