package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// untestable are defects of the incumbent in what is not here yet.
var untestable = map[string]bool{
	"D18": true, // a follower's list while it does not run
}

var defectTest = regexp.MustCompile(`\nfunc Test(D\d\d)_`)

// Each of the incumbent's defects D1 to D21 has a test that is named after it.
func TestDefects_EachHasATest(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == ".bin" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range defectTest.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 21; n++ {
		name := fmt.Sprintf("D%02d", n)
		if !found[name] && !untestable[name] {
			t.Errorf("no test is named Test%s_...", name)
		}
	}
}
