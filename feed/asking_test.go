package feed

import (
	"bytes"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// An answer costs a member no more memory than the question is worth.
func TestStatuses_AreBounded(t *testing.T) {
	infos := make([]api.PinInfo, MaxAsked)
	for i := range infos {
		infos[i].Cid = pagePin(i, "").Cid
	}
	whole, err := api.Encode(infos)
	check(t, err)
	none, err := api.Encode([]api.PinInfo{})
	check(t, err)
	few, err := api.Encode(infos[:3])
	check(t, err)
	for name, test := range map[string]struct {
		answer []byte
		want   int // -1: an error
	}{
		"all":          {whole, MaxAsked},
		"few":          {few, 3},
		"none":         {none, 0},
		"one too many": {append([]byte{0x98, MaxAsked + 1}, bytes.Repeat([]byte{0xa0}, MaxAsked+1)...), -1},
		"very many":    {append([]byte{0x9a, 0, 1, 0, 0}, bytes.Repeat([]byte{0xa0}, 1<<16)...), -1},
		"many":         {append([]byte{0x99, 0xff, 0xff}, bytes.Repeat([]byte{0xa0}, 0xffff)...), -1},
		"without end":  {[]byte{0x9f, 0xa0, 0xff}, -1},
		"a map":        {[]byte{0xa0}, -1},
		"a number":     {[]byte{0x05}, -1},
		"null":         {[]byte{0xf6}, 0},
		"nothing":      {nil, -1},
		"cut":          {[]byte{0x98}, -1},
	} {
		var got statuses
		if err := api.Decode(test.answer, &got); (err != nil) != (test.want < 0) || err == nil && len(got) != test.want {
			t.Errorf("%s: %d statuses, %v; want %d", name, len(got), err, test.want)
		}
	}
}
