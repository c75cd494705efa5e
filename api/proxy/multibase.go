package proxy

import (
	"bytes"
	"io"
	"strings"

	"github.com/ipfs/boxo/files"
	"github.com/multiformats/go-multibase"

	"github.com/pinfold-cluster/pinfold/api"
)

// multibaseCommands write bytes in bases of multiformats. They need no node.
var multibaseCommands = []*command{
	{path: "multibase"},
	{path: "multibase/list", run: (*call).listBases, options: []option{opt(boolean, "prefix"), opt(boolean, "numeric")}},
	{path: "multibase/encode", run: (*call).multibaseEncode, args: []argument{{name: "file", file: true}}, options: []option{baseOption}},
	{path: "multibase/decode", run: (*call).multibaseDecode, args: []argument{{name: "encoded_file", file: true}}},
	{path: "multibase/transcode", run: (*call).multibaseTranscode, args: []argument{{name: "encoded_file", file: true}}, options: []option{baseOption}},
}

var baseOption = opt(text, "b").or("base64url")

// maxText bounds the bytes that a command takes into memory.
const maxText = 16 << 20

func (c *call) multibaseEncode() error {
	base, err := multibase.EncoderByName(c.text("b"))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	return c.copy(strings.NewReader(base.Encode(data)), "text/plain")
}

func (c *call) multibaseDecode() error {
	data, err := c.decoded()
	if err != nil {
		return err
	}
	return c.copy(bytes.NewReader(data), "text/plain")
}

func (c *call) multibaseTranscode() error {
	base, err := multibase.EncoderByName(c.text("b"))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	data, err := c.decoded()
	if err != nil {
		return err
	}
	return c.copy(strings.NewReader(base.Encode(data)), "text/plain")
}

func (c *call) decoded() ([]byte, error) {
	encoded, err := c.upload(maxText)
	if err != nil {
		return nil, err
	}
	_, data, err := multibase.Decode(string(encoded))
	if err != nil {
		return nil, api.Invalid.Errorf("failed to decode multibase: %w", err)
	}
	return data, nil
}

// upload reads the first file of the body, of at most limit bytes.
func (c *call) upload(limit int64) ([]byte, error) {
	it := c.files.Entries()
	if !it.Next() {
		if err := it.Err(); err != nil {
			return nil, err
		}
		return nil, api.Invalid.Errorf("expected a file")
	}
	f := files.FileFromEntry(it)
	if f == nil {
		return nil, api.Invalid.Errorf("expected a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, api.TooLarge.Errorf("a file for this command may not be over %d bytes", limit)
	}
	return data, nil
}
