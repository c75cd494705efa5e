package feed

import (
	"bytes"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/pinfold-cluster/pinfold/api"
)

// What strangers answer takes no more memory than the question is worth.
func TestAnswers_AreBounded(t *testing.T) {
	infos := make([]api.PinInfo, MaxAsked)
	for i := range infos {
		infos[i].Cid = pagePin(i, "").Cid
	}
	whole, err := api.Encode(infos)
	check(t, err)
	few, err := api.Encode(infos[:3])
	check(t, err)
	array := func(items int) []byte { // of empty maps
		return append([]byte{0x99, byte(items >> 8), byte(items)}, bytes.Repeat([]byte{0xa0}, items)...)
	}
	names := append([]byte{0x81, 0xa1, 4, 0x99, 0xff, 0xff}, bytes.Repeat([]byte{0x60}, 0xffff)...) // of 65,535 peers
	for name, test := range map[string]struct {
		answer []byte
		want   int // -1: an error
	}{
		"all":          {whole, MaxAsked},
		"few":          {few, 3},
		"none":         {[]byte{0x80}, 0},
		"one too many": {array(MaxAsked + 1), -1},
		"very many":    {append([]byte{0x9a, 0, 1, 0, 0}, bytes.Repeat([]byte{0xa0}, 1<<16)...), -1},
		"many inside":  {names, -1},
		"without end":  {[]byte{0x9f, 0xa0, 0xff}, -1},
		"a map":        {[]byte{0xa0}, -1},
		"null":         {[]byte{0xf6}, 0},
		"nothing":      {[]byte{}, -1},
		"cut":          {[]byte{0x98}, -1},
	} {
		var got []api.PinInfo
		err := client{replying{parts: [][]byte{test.answer}}}.value(t.Context(), "", request{}, helloTime, &got)
		if (err != nil) != (test.want < 0) || err == nil && len(got) != test.want || err != nil && api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %d statuses, %v; want %d", name, len(got), err, test.want)
		}
	}
	_, err = client{replying{parts: [][]byte{append([]byte{0xa1, 7}, array(0xffff)...)}}}.hello(t.Context(), "", hello{})
	var many *cbor.MaxArrayElementsError
	if !errors.As(err, &many) {
		t.Errorf("a hello that names 65,535 neighbours: %v", err)
	}
}
