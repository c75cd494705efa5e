package adder

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
)

// link is a finished node as its parent sees it.
type link struct {
	name string
	cid  cid.Cid
	size uint64 // bytes of all blocks below and including it, counting repeated ones again
}

// unixfsType is the type field of UnixFS.
type unixfsType uint8

const (
	typeRaw       unixfsType = 0 // a leaf in the trickle layout
	typeDirectory unixfsType = 1
	typeFile      unixfsType = 2
	typeSymlink   unixfsType = 4
)

// The tags of UnixFS's Data message: the field's number and its wire type.
const (
	tagType      = 1<<3 | 0
	tagData      = 2<<3 | 2
	tagFileSize  = 3<<3 | 0
	tagBlockSize = 4<<3 | 0
)

// The tags of dag-pb's PBNode and PBLink.
const (
	tagNodeData  = 1<<3 | 2
	tagNodeLinks = 2<<3 | 2
	tagLinkHash  = 1<<3 | 2
	tagLinkName  = 2<<3 | 2
	tagLinkSize  = 3<<3 | 0
)

func appendBytes[T ~[]byte | ~string](b []byte, tag byte, data T) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(data))), data...)
}

func appendNumber(b []byte, tag byte, n uint64) []byte {
	return binary.AppendUvarint(append(b, tag), n)
}

// leafNode is a dag-pb node that holds data itself; st is that of a file which it is.
func leafNode(t unixfsType, data []byte, st stat) []byte {
	head := appendNumber(make([]byte, 0, 16), tagType, uint64(t))
	if len(data) > 0 {
		head = binary.AppendUvarint(append(head, tagData), uint64(len(data)))
	}
	tail := st.appendFile(appendNumber(make([]byte, 0, 48), tagFileSize, uint64(len(data))))
	size := len(head) + len(data) + len(tail)
	b := make([]byte, 0, 1+binary.MaxVarintLen32+size)
	b = binary.AppendUvarint(append(b, tagNodeData), uint64(size))
	return append(append(append(b, head...), data...), tail...)
}

// fileNode is a dag-pb node of a file whose bytes are in its children; sizes are the
// file bytes below each. st is that of the file whose root it is.
func fileNode(children []link, sizes []uint64, st stat) []byte {
	var total uint64
	data := appendNumber(nil, tagType, uint64(typeFile))
	for _, n := range sizes {
		total += n
	}
	data = appendNumber(data, tagFileSize, total)
	for _, n := range sizes {
		data = appendNumber(data, tagBlockSize, n)
	}
	return dagNode(children, st.appendFile(data))
}

// directoryNode is the dag-pb node of a directory that is not sharded. It sorts the
// entries.
func directoryNode(entries []link, st stat) []byte {
	slices.SortFunc(entries, func(a, b link) int { return strings.Compare(a.name, b.name) })
	return dagNode(entries, st.appendDirectory(appendNumber(nil, tagType, uint64(typeDirectory))))
}

func symlinkNode(target string, st stat) []byte {
	data := appendBytes(appendNumber(nil, tagType, uint64(typeSymlink)), tagData, target)
	return dagNode(nil, st.appendSymlink(data))
}

// dagNode encodes a PBNode: its links come before its data.
func dagNode(links []link, data []byte) []byte {
	b := make([]byte, 0, 64*len(links)+len(data)+16)
	var l []byte
	for _, k := range links {
		l = appendBytes(l[:0], tagLinkHash, k.cid.KeyString())
		l = appendBytes(l, tagLinkName, k.name)
		l = appendNumber(l, tagLinkSize, k.size)
		b = appendBytes(b, tagNodeLinks, l)
	}
	return appendBytes(b, tagNodeData, data)
}
