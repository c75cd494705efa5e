package main

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

// The roots of a CAR are pins of their own on real nodes.
func TestCluster_CARWithSeveralRoots(t *testing.T) {
	peers := startCluster(t, 2)
	roots := []rawTestBlock{rawBlock([]byte("one")), rawBlock([]byte("two"))}
	header := []byte("\xa2\x65roots\x82") // a CARv1: {"roots": [...], "version": 1}
	for _, r := range roots {
		header = append(append(header, 0xd8, 42, 0x58, byte(r.cid.ByteLen()+1), 0), r.cid.Bytes()...)
	}
	header = append(header, "\x67version\x01"...)
	text := append(binary.AppendUvarint(nil, uint64(len(header))), header...)
	for i, r := range roots {
		data := []string{"one", "two"}[i]
		text = binary.AppendUvarint(text, uint64(r.cid.ByteLen()+len(data)))
		text = append(append(text, r.cid.Bytes()...), data...)
	}
	dir := files.NewSliceDirectory([]files.DirEntry{files.FileEntry("x.car", files.NewBytesFile(text))})
	var got []api.Cid
	for line, err := range peers[0].http.Add(t.Context(), dir, api.AddParams{Format: "car", PinOptions: copies(2)}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Cid)
	}
	if want := []api.Cid{roots[0].cid, roots[1].cid}; !slices.Equal(got, want) {
		t.Fatalf("lines of %v, want %v", got, want)
	}
	for _, c := range got {
		eventually(t, patience, func() error { return settled(peers, peers[1], c, 2) })
	}
}
