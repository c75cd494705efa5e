package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	// maxArgs bounds the arguments of a request, and maxArgBytes one of them.
	maxArgs     = 10_000
	maxArgBytes = 64 << 10
	// maxBodyArgs bounds the bytes of arguments in a body.
	maxBodyArgs = 4 << 20
)

// parse reads the arguments and options of a request. The error is the client's fault.
func parse(c *command, r *http.Request, first []string) (args []string, opts map[string]any, err error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, api.Invalid.Errorf("error decoding the query: %w", err)
	}
	args = append(append(args, first...), q["arg"]...)
	if len(args) > maxArgs {
		return nil, nil, api.TooLarge.Errorf("there are over %d arguments", maxArgs)
	}
	if opts, err = parseOptions(c, q); err != nil {
		return nil, nil, err
	}
	return args, opts, nil
}

func parseOptions(c *command, q url.Values) (map[string]any, error) {
	opts := map[string]any{}
	for name, values := range q {
		o, ok := c.option(name)
		if name == "arg" || !ok {
			continue
		}
		main := o.names[0]
		if _, twice := opts[main]; twice {
			return nil, api.Invalid.Errorf("duplicate command options were provided (%q and %q)", main, name)
		}
		if o.kind == texts {
			opts[main] = values
			continue
		}
		if len(values) > 1 {
			return nil, api.Invalid.Errorf("expected key %s to have only a single value, received %v", main, values)
		}
		v, err := o.parse(values[0])
		if err != nil {
			shown := fmt.Sprintf("value %q", values[0])
			if values[0] == "" {
				shown = "empty value"
			}
			return nil, api.Invalid.Errorf("could not convert %s to type %q (for option %q)", shown, kinds[o.kind], "-"+main)
		}
		opts[main] = v
	}
	for _, list := range [][]option{c.options, globals} {
		for _, o := range list {
			if _, given := opts[o.names[0]]; !given && o.preset != nil {
				opts[o.names[0]] = o.preset
			}
		}
	}
	return opts, nil
}

func (o option) parse(s string) (any, error) {
	switch o.kind {
	case boolean:
		if s == "" {
			return true, nil
		}
		return strconv.ParseBool(strings.ToLower(s))
	case integer:
		return strconv.ParseInt(s, 0, 32)
	case long:
		return strconv.ParseInt(s, 0, 64)
	case unsigned:
		return strconv.ParseUint(s, 0, 32)
	default:
		return s, nil
	}
}

// timeoutOf reads the option that bounds a request; 0 is none.
func timeoutOf(opts map[string]any) (time.Duration, error) {
	s, ok := opts["timeout"].(string)
	if !ok || s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, api.Invalid.Errorf("option timeout is no duration such as 30s: %q", s)
	}
	return d, nil
}

// body opens a multipart body, nil where there is none.
func body(w http.ResponseWriter, r *http.Request) (*web.Upload, *web.Body, error) {
	media, attrs, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		return nil, nil, nil
	}
	if attrs["boundary"] == "" {
		return nil, nil, api.Invalid.Errorf("no multipart boundary param in Content-Type")
	}
	in := web.NewBody(w, r)
	return web.NewUpload(bufio.NewReaderSize(in, 64<<10), attrs["boundary"]), in, nil
}

// eachFile calls f with every file of a body, which may hold nothing else.
func eachFile(dir files.Directory, f func(files.File) error) error {
	it := dir.Entries()
	n := 0
	for it.Next() {
		file := files.FileFromEntry(it)
		if file == nil {
			return api.Invalid.Errorf("expected a file")
		}
		if err := errors.Join(f(file), file.Close()); err != nil {
			return err
		}
		n++
	}
	if err := it.Err(); err != nil {
		return err
	}
	if n == 0 {
		return api.Invalid.Errorf("expected a file")
	}
	return nil
}

// fill checks that the arguments are those that c takes, and adds those in the body of
// a command that takes arguments there. Whether it takes files is told by the result.
func fill(c *command, args []string, dir *web.Upload) ([]string, error) {
	last := argument{}
	if len(c.args) > 0 {
		last = c.args[len(c.args)-1]
	}
	if last.body && dir != nil && (last.many || len(args) < len(c.args)) {
		more, err := bodyArgs(dir, len(args))
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
	need := 0
	for _, a := range c.args {
		switch {
		case a.file && !a.optional && dir == nil:
			return nil, api.Invalid.Errorf("file argument '%s' is required", a.name)
		case a.file || a.optional:
		default:
			if need++; need > len(args) {
				return nil, api.Invalid.Errorf("argument %q is required", a.name)
			}
		}
	}
	for _, a := range args {
		if len(a) > maxArgBytes {
			return nil, api.TooLarge.Errorf("an argument is over %d bytes", maxArgBytes)
		}
	}
	return args, nil
}

// bodyArgs reads the lines of the first file of a body.
func bodyArgs(dir files.Directory, have int) ([]string, error) {
	it := dir.Entries()
	if !it.Next() {
		return nil, it.Err()
	}
	f := files.FileFromEntry(it)
	if f == nil {
		return nil, api.Invalid.Errorf("expected a file")
	}
	var args []string
	in := bufio.NewScanner(io.LimitReader(f, maxBodyArgs+1))
	in.Buffer(nil, maxArgBytes)
	read := 0
	for in.Scan() {
		if read += len(in.Bytes()) + 1; read > maxBodyArgs || have+len(args) >= maxArgs {
			return nil, api.TooLarge.Errorf("there are over %d arguments, or %d bytes of them", maxArgs, maxBodyArgs)
		}
		if line := strings.TrimRight(in.Text(), "\r"); line != "" {
			args = append(args, line)
		}
	}
	if err := in.Err(); err != nil {
		return nil, api.Invalid.Errorf("read arguments: %w", err)
	}
	return args, nil
}
