package kubo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// marksDir is the folder, in the node's MFS, of a file for each mark: its name is the
// CID, its content when the mark was made (RFC 3339), and " before" where the CID was
// pinned before.
const marksDir = "/pinfold/adds"

func markPath(c api.Cid) url.Values { return url.Values{"arg": {marksDir + "/" + c.String()}} }

func (n *Node) mark(ctx context.Context, m api.Mark) error {
	text := m.Since.Format(time.RFC3339Nano)
	if m.Before {
		text += wasPinned
	}
	if err := n.writeFile(ctx, marksDir+"/"+m.Cid.String(), text); err != nil {
		return fmt.Errorf("mark %s: %w", m.Cid, err)
	}
	return nil
}

// marked gives the mark of c, whether or not its pin is there.
func (n *Node) marked(ctx context.Context, c api.Cid) (m api.Mark, ok bool, err error) {
	m, err = n.readMark(ctx, c)
	if api.KindOf(err) == api.NotFound {
		return m, false, nil
	}
	return m, err == nil, err
}

// ClearMark implements ipfsconn.Connector.
func (n *Node) ClearMark(ctx context.Context, c api.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	err := n.call(ctx, nil, "files/stat", markPath(c))
	if api.KindOf(err) == api.NotFound {
		return nil
	}
	if err != nil {
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
				m, err = n.readMark(ctx, c)
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

// wasPinned ends the file of a mark of what was pinned before.
const wasPinned = " before"

func (n *Node) readMark(ctx context.Context, c api.Cid) (m api.Mark, err error) {
	m.Cid = c
	body, err := n.post(ctx, "files/read", markPath(c), nil)
	if err != nil {
		return m, err
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, 64))
	if err := errors.Join(err, body.fault()); err != nil {
		return m, fmt.Errorf("mark of %s: %w", c, err)
	}
	text, before := strings.CutSuffix(string(content), wasPinned)
	m.Before = before
	if m.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return m, api.Internal.Errorf("mark of %s: %w", c, err)
	}
	return m, nil
}
