package web

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// part of a multipart body: its path, type and content. What follows ?? in a path is
// what the part says of the file.
type part [3]string

const (
	dirType  = "application/x-directory"
	linkType = "application/symlink"
	fileType = "application/octet-stream"
)

func multipartBody(parts ...part) string {
	var b strings.Builder
	for _, p := range parts {
		name, meta, ok := strings.Cut(p[0], "??")
		field := "file"
		if ok {
			field += "?" + meta
		}
		fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%s\"\r\nContent-Type: %s\r\n\r\n%s\r\n", field, url.QueryEscape(name), p[1], p[2])
	}
	return b.String() + "--b--\r\n"
}

// listing tells all that is in dir.
func listing(dir files.Directory) (string, error) {
	var b strings.Builder
	err := apitest.Walk(dir, func(name string, n files.Node) error {
		fmt.Fprintf(&b, "%o %s ", n.Mode(), n.ModTime().UTC().Format(time.RFC3339Nano))
		switch n := n.(type) {
		case files.Directory:
			fmt.Fprintf(&b, "%s/\n", name)
		case *files.Symlink:
			fmt.Fprintf(&b, "%s -> %s\n", name, n.Target)
		case files.File:
			text, err := io.ReadAll(n)
			fmt.Fprintf(&b, "%s: %s\n", name, text)
			return err
		}
		return nil
	})
	return b.String(), err
}

// What is well formed is what boxo makes of it.
func TestUpload_IsBoxosDirectory(t *testing.T) {
	for name, parts := range map[string][]part{
		"file":               {{"a", fileType, "1"}},
		"files":              {{"a", fileType, "1"}, {"b", "text/plain", ""}, {"c", "", "x"}},
		"tree":               {{"d", dirType, ""}, {"d/a", fileType, "1"}, {"d/s", dirType, ""}, {"d/s/b", fileType, "2"}, {"d/c", fileType, "3"}, {"e", fileType, "4"}},
		"implied tree":       {{"d/s/t/b", fileType, "2"}, {"d/s/c", fileType, "3"}, {"d/e", fileType, "4"}, {"f/g", fileType, "5"}},
		"directory again":    {{"a/x", fileType, "1"}, {"b/y", fileType, "2"}, {"a/z", fileType, "3"}},
		"empty directories":  {{"d", dirType, ""}, {"e", "multipart/form-data; boundary=c", ""}},
		"directory's body":   {{"d", dirType, "what is this"}, {"d/a", fileType, "1"}},
		"symlinks":           {{"l", linkType, "../x"}, {"d/l", linkType, ""}},
		"no name":            {{"", fileType, "1"}},
		"no names":           {{"", fileType, "1"}, {"", fileType, "2"}},
		"directory, no name": {{"", dirType, ""}, {"a", fileType, "1"}, {"", dirType, ""}, {"d/b", fileType, "1"}},
		"dots":               {{"../../a", fileType, "1"}, {"b/../c", fileType, "2"}, {"./d", fileType, "3"}, {"/e//f", fileType, "4"}},
		"strange names":      {{"ü &?#%+", fileType, "1"}, {"\x00\r\n", fileType, "2"}},
		"modes and times":    {{"d??mode=020000000755&mtime=1000000000", dirType, ""}, {"d/a??mtime=-1&mtime-nsecs=999999999&mode=0644", fileType, "1"}, {"d/l??mode=0777&mtime=5", linkType, "x"}},
		"modes alone":        {{"d??mode=0755", dirType, ""}, {"a??mode=037777777777", fileType, "1"}},
		"times alone":        {{"a??mtime=1", fileType, "1"}, {"b??mtime-nsecs=1", fileType, "1"}, {"c??mtime=0&mtime-nsecs=5000000000", fileType, "1"}},
		"odd modes":          {{"a??mode=9", fileType, "1"}, {"b??mode=0777777777777", fileType, "1"}, {"c??mode=&mtime=", fileType, "1"}, {"d??mode=1&mode=2", fileType, "1"}, {"e??", fileType, ""}, {"f??%zz", fileType, ""}, {"g??mtime=x&mode=0600", fileType, ""}, {"h??mtime=1&mtime-nsecs=x", fileType, ""}, {"i???mode=1", fileType, ""}},
		"like a prefix":      {{"a", fileType, "1"}, {"ab/c", fileType, "2"}, {"ab/cd", fileType, "3"}},
		"nothing":            {},
	} {
		t.Run(name, func(t *testing.T) {
			body := multipartBody(parts...)
			boxos, err := files.NewFileFromPartReader(multipart.NewReader(strings.NewReader(body), "b"), "multipart/form-data")
			if err != nil {
				t.Fatal(err)
			}
			want, err := listing(boxos)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := listing(NewUpload(strings.NewReader(body), "b")); err != nil || got != want {
				t.Fatalf("got\n%s%v, want\n%s", got, err, want)
			}
		})
	}
}

func TestUpload_RefusesWhatHasNoBounds(t *testing.T) {
	endless := func(head string) io.Reader { return io.MultiReader(strings.NewReader(head), zeros{}) }
	const head = "--b\r\nContent-Disposition: form-data; filename=\"%s\"\r\nContent-Type: %s\r\n\r\n"
	for name, body := range map[string]io.Reader{
		"endless symlink":      endless(fmt.Sprintf(head, "l", linkType)),
		"long path":            strings.NewReader(multipartBody(part{strings.Repeat("d/", 9<<10), fileType, ""})),
		"endless header":       endless("--b\r\nX: "),
		"no name at all":       strings.NewReader("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"),
		"below a file":         strings.NewReader(multipartBody(part{"a", fileType, "1"}, part{"a/b", fileType, "2"})),
		"below a symlink":      strings.NewReader(multipartBody(part{"a", linkType, "x"}, part{"a/b/c", fileType, "2"})),
		"before the last line": strings.NewReader(strings.TrimSuffix(multipartBody(part{"a", fileType, "1"}), "--b--\r\n")),
		"type":                 strings.NewReader(multipartBody(part{"a", ";;", "1"})),
	} {
		t.Run(name, func(t *testing.T) {
			u := NewUpload(body, "b")
			_, err := listing(u)
			if api.KindOf(err) != api.Invalid || u.Blame(io.ErrClosedPipe) != err {
				t.Fatalf("got %v, blamed %v; want an Invalid error", err, u.Blame(io.ErrClosedPipe))
			}
			if u.Blame(nil) != nil {
				t.Fatal("a fault where there was no error")
			}
		})
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzUpload(f *testing.F) {
	f.Add([]byte(multipartBody(part{"d/a", fileType, "1"}, part{"d/l", linkType, "x"}, part{"", dirType, ""}, part{"../b", "", ""})))
	f.Add([]byte("--b\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		u := NewUpload(bytes.NewReader(body), "b")
		if _, err := listing(u); err != nil && api.KindOf(err) != api.Invalid {
			t.Fatalf("%v is a %s, not the client's fault", err, api.KindOf(err))
		}
	})
}
