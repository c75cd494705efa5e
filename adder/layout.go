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

// node makes the file node over children.
func (s store) node(children []part) (part, error) {
	links := make([]link, len(children))
	sizes := make([]uint64, len(children))
	var p part
	for i, c := range children {
		links[i], sizes[i] = c.link, c.bytes
		p.bytes += c.bytes
		p.size += c.size
	}
	k, err := s(fileNode(links, sizes))
	if err != nil {
		return part{}, err
	}
	p.cid, p.size = k.cid, p.size+k.size
	return p, nil
}

// balanced builds a tree whose leaves all have the same depth, from left to right. It
// keeps one unfinished node of each level. A file of one leaf is that leaf, an empty one
// an empty leaf.
func balanced(in leaves, s store) (part, error) {
	var levels [][]part
	push := func(p part) error {
		for i := 0; ; i++ {
			if i == len(levels) {
				levels = append(levels, make([]part, 0, maxChildren))
			}
			levels[i] = append(levels[i], p)
			if len(levels[i]) < maxChildren {
				return nil
			}
			var err error
			if p, err = s.node(levels[i]); err != nil {
				return err
			}
			levels[i] = levels[i][:0]
		}
	}
	for {
		p, ok, err := in.next()
		if err != nil {
			return part{}, err
		}
		if !ok && len(levels) == 0 {
			return in.empty()
		}
		if !ok {
			break
		}
		if err := push(p); err != nil {
			return part{}, err
		}
	}
	// Close the unfinished nodes from below. What is above one may be empty.
	var carry []part
	for i, level := range levels {
		level = append(level, carry...)
		carry = nil
		top := true
		for _, above := range levels[i+1:] {
			top = top && len(above) == 0
		}
		if top && len(level) == 1 {
			return level[0], nil
		}
		if len(level) == 0 {
			continue
		}
		p, err := s.node(level)
		if err != nil {
			return part{}, err
		}
		carry = []part{p}
	}
	return carry[0], nil
}

// trickle builds a node with leaves first and then subtrees of growing depth, up to
// below depth; -1 is without bound. Every file has such a node, an empty one too.
func trickle(in leaves, s store, depth int) (part, error) {
	var children []part
	for len(children) < maxChildren {
		p, ok, err := in.next()
		if err != nil {
			return part{}, err
		}
		if !ok {
			return s.node(children)
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
				return s.node(children)
			}
			p, err := trickle(in, s, d)
			if err != nil {
				return part{}, err
			}
			children = append(children, p)
		}
	}
	return s.node(children)
}
