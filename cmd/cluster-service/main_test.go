package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestExecute_ExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		err  string
	}{
		{"version", 0, ""},
		{"completion nope", exitFailed, "nope"},
		{"nope", exitUnknown, "No help topic for 'nope'"},
		{"state nope", exitFailed, "nope"},
		{"-c nowhere follow archive nope", exitUnknown, "No help topic for 'follow NAME nope'"},
		{"-c nowhere follow archive example.org/follow.json", exitUnknown, "begins with http://"},
		{"-c nowhere follow archive pinfold-follow1_a b", exitFailed, `"b" after the link`},
		{"version --nope", exitFailed, "error unknown flag"},
		{"--loglevel loud version", 0, ""}, // not needed, so not looked at
	} {
		var out, errw bytes.Buffer
		if code := execute(t.Context(), strings.Fields(tt.args), &out, &errw); code != tt.code || !strings.Contains(errw.String(), tt.err) {
			t.Errorf("%s: exit code %d, want %d; printed %s%s, want %q", tt.args, code, tt.code, out.String(), errw.String(), tt.err)
		}
	}
}
