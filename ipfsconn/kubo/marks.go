package kubo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// marksDir is the folder, in the node's MFS, of a file for each mark: its name is the
// CID, its content when the mark was made (RFC 3339).
const marksDir = "/pinfold/adds"

func markPath(c api.Cid) url.Values { return url.Values{"arg": {marksDir + "/" + c.String()}} }

func (n *Node) mark(ctx context.Context, c api.Cid, now time.Time) error {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreateFormFile("data", "data")
	if err == nil {
		_, err = io.WriteString(part, now.Format(time.RFC3339Nano))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	args := markPath(c)
	args.Set("create", "true")
	args.Set("parents", "true")
	args.Set("truncate", "true")
	if err := n.send(ctx, nil, "files/write", args, &upload{&buf, w.FormDataContentType()}); err != nil {
		return fmt.Errorf("mark %s: %w", c, err)
	}
	return nil
}

func (n *Node) marked(ctx context.Context, c api.Cid) (bool, error) {
	err := n.call(ctx, nil, "files/stat", markPath(c))
	if api.KindOf(err) == api.NotFound {
		return false, nil
	}
	return err == nil, err
}

// ClearMark implements ipfsconn.Connector.
func (n *Node) ClearMark(ctx context.Context, c api.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	marked, err := n.marked(ctx, c)
	if err != nil || !marked {
		return err
	}
	if err := n.call(ctx, nil, "files/rm", markPath(c)); err != nil && api.KindOf(err) != api.NotFound {
		return fmt.Errorf("clear mark of %s: %w", c, err)
	}
	return nil
}

// Marks implements ipfsconn.Connector. Marks whose pin is not there, as after an add
// that failed half way, are left out.
func (n *Node) Marks(ctx context.Context) iter.Seq2[api.Mark, error] {
	return func(yield func(api.Mark, error) bool) {
		cids, err := n.listMarks(ctx)
		if err != nil {
			yield(api.Mark{}, fmt.Errorf("marks: %w", err))
			return
		}
		for _, c := range cids {
			mode, pinned, err := n.PinStatus(ctx, c)
			if err == nil && (!pinned || mode != api.PinRecursive) {
				continue
			}
			m := api.Mark{Cid: c}
			if err == nil {
				m.Since, err = n.markedSince(ctx, c)
			}
			if api.KindOf(err) == api.NotFound {
				continue // taken over meanwhile
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func (n *Node) listMarks(ctx context.Context) ([]api.Cid, error) {
	var cids []api.Cid
	type dir struct{ Entries []struct{ Name string } }
	for d, err := range stream[dir](ctx, n, "files/ls", url.Values{"arg": {marksDir}, "stream": {"true"}}, nil) {
		if api.KindOf(err) == api.NotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, e := range d.Entries {
			c, err := api.ParseCid(e.Name)
			if err != nil {
				n.log.Warn("a file among the marks of adds is none", "file", marksDir+"/"+e.Name)
				continue
			}
			cids = append(cids, c)
		}
	}
	slices.SortFunc(cids, func(a, b api.Cid) int { return strings.Compare(a.KeyString(), b.KeyString()) })
	return cids, nil
}

func (n *Node) markedSince(ctx context.Context, c api.Cid) (time.Time, error) {
	body, err := n.post(ctx, "files/read", markPath(c), nil)
	if err != nil {
		return time.Time{}, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, 64))
	if err := errors.Join(err, body.fault()); err != nil {
		return time.Time{}, fmt.Errorf("mark of %s: %w", c, err)
	}
	since, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return time.Time{}, api.Internal.Errorf("mark of %s: %w", c, err)
	}
	return since, nil
}
