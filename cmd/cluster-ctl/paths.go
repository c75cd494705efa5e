package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ipfs/boxo/files"
)

// openPaths opens the files and URLs to send and tells their bytes, 0 where a URL does
// not. Everything is looked at before anything is sent, so that a missing file changes
// nothing.
func openPaths(ctx context.Context, paths []string, recursive, hidden bool) (dir files.Directory, total uint64, err error) {
	var entries []files.DirEntry
	unknown := false
	names := map[string]string{}
	defer func() {
		if err != nil {
			for _, e := range entries {
				e.Node().Close()
			}
		}
	}()
	for _, p := range paths {
		open := openFile
		if isURL(p) {
			open = openURL
		}
		name, node, n, err := open(ctx, p, recursive, hidden)
		if err != nil {
			return nil, 0, fmt.Errorf("opening %w", err)
		}
		unknown = unknown || n < 0
		total += uint64(max(0, n))
		entries = append(entries, files.FileEntry(name, node))
		if other, ok := names[name]; ok {
			return nil, 0, fmt.Errorf("opening %s and %s: both would be named %s", other, p, name)
		}
		names[name] = p
	}
	if unknown {
		total = 0
	}
	return files.NewSliceDirectory(entries), total, nil
}

func isURL(p string) bool { return strings.HasPrefix(p, "http://") || strings.HasPrefix(p, "https://") }

// openURL asks for what p gives; -1 bytes where the site does not say.
func openURL(ctx context.Context, p string, _, _ bool) (name string, node files.Node, n int64, err error) {
	u, err := url.Parse(p)
	if err != nil {
		return "", nil, 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p, nil)
	if err != nil {
		return "", nil, 0, err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", nil, 0, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return "", nil, 0, fmt.Errorf("%s: the site answers %s", p, res.Status)
	}
	if name = path.Base(u.Path); name == "." || name == "/" {
		name = u.Hostname()
	}
	return name, files.NewReaderFile(&whole{res.Body, p}), res.ContentLength, nil
}

// whole is a site's answer, whose errors name the URL.
type whole struct {
	io.ReadCloser
	url string
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("reading %s: %w", w.url, err)
	}
	return n, err
}

func openFile(_ context.Context, p string, recursive, hidden bool) (name string, node files.Node, n int64, err error) {
	filter, err := files.NewFilter("", nil, hidden)
	if err != nil {
		return "", nil, 0, err
	}
	stat, err := os.Lstat(p)
	if err != nil {
		return "", nil, 0, err
	}
	if stat.IsDir() && !recursive {
		return "", nil, 0, fmt.Errorf("%s: it is a directory; add it with -r", p)
	}
	if n, err = sizeOf(p, hidden); err != nil {
		return "", nil, 0, err
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", nil, 0, err
	}
	if node, err = files.NewSerialFileWithFilter(p, filter, stat); err != nil {
		return "", nil, 0, fmt.Errorf("%s: %w", p, err)
	}
	return filepath.Base(abs), node, n, nil
}

// sizeOf sums the files at and below path that will be sent.
func sizeOf(path string, hidden bool) (total int64, err error) {
	err = filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if at != path && !hidden && strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			total += info.Size()
		}
		return nil
	})
	return total, err
}
