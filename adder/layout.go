package adder

// The layouts are Kubo's: 174 children a node; a trickle node has 4 subtrees of each
// depth.
const (
	maxChildren = 174
	depthRepeat = 4
)

// part is a node of a file, and the bytes of the file below it.
type part struct {
	link
	bytes uint64
}

// leaves gives the leaves of one file in order.
type leaves interface {
	// next takes the next leaf; ok is false at the end of the file.
	next() (p part, ok bool, err error)
	// more tells whether there is a next one.
	more() (bool, error)
	// empty makes a leaf without bytes.
	empty() (part, error)
}

// store keeps a dag-pb block, and returns a link to it with the block's own size.
type store func(data []byte) (link, error)

// node makes the file node over children. st is that of the file whose root it is.
func (s store) node(children []part, st stat) (part, error) {
	links := make([]link, len(children))
	sizes := make([]uint64, len(children))
	var p part
	for i, c := range children {
		links[i], sizes[i] = c.link, c.bytes
		p.bytes += c.bytes
		p.size += c.size
	}
	k, err := s(fileNode(links, sizes, st))
	if err != nil {
		return part{}, err
	}
	p.cid, p.size = k.cid, p.size+k.size
	return p, nil
}

// balanced builds a tree whose leaves all have the same depth, from left to right. It
// keeps one unfinished node of each level, and finishes a full one only when there is
// more to come: the root, which has st, is made last. A file of one leaf is that leaf, an
// empty one an empty leaf; they are to have st themselves.
func balanced(in leaves, s store, st stat) (part, error) {
	var levels [][]part
	push := func(i int, p part) error {
		for ; i < len(levels); i++ {
			if len(levels[i]) < maxChildren {
				levels[i] = append(levels[i], p)
				return nil
			}
			full, err := s.node(levels[i], stat{})
			if err != nil {
				return err
			}
			levels[i] = append(levels[i][:0], p)
			p = full
		}
		levels = append(levels, append(make([]part, 0, maxChildren), p))
		return nil
	}
	for {
		p, ok, err := in.next()
		if err != nil {
			return part{}, err
		}
		if !ok {
			break
		}
		if err := push(0, p); err != nil {
			return part{}, err
		}
	}
	if len(levels) == 0 {
		return in.empty()
	}
	if len(levels) == 1 && len(levels[0]) == 1 {
		return levels[0][0], nil
	}
	// Finish the nodes from below; that may start another level.
	for i := 0; i < len(levels)-1; i++ {
		p, err := s.node(levels[i], stat{})
		if err != nil {
			return part{}, err
		}
		if err := push(i+1, p); err != nil {
			return part{}, err
		}
	}
	return s.node(levels[len(levels)-1], st)
}

// trickle builds a node with leaves first and then subtrees of growing depth, up to
// below depth; -1 is without bound. Every file has such a node, an empty one too. The
// node itself has st.
func trickle(in leaves, s store, depth int, st stat) (part, error) {
	var children []part
	for len(children) < maxChildren {
		p, ok, err := in.next()
		if err != nil {
			return part{}, err
		}
		if !ok {
			return s.node(children, st)
		}
		children = append(children, p)
	}
	for d := 1; depth == -1 || d < depth; d++ {
		for range depthRepeat {
			more, err := in.more()
			if err != nil {
				return part{}, err
			}
			if !more {
				return s.node(children, st)
			}
			p, err := trickle(in, s, d, stat{})
			if err != nil {
				return part{}, err
			}
			children = append(children, p)
		}
	}
	return s.node(children, st)
}
