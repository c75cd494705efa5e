package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestCauseOf(t *testing.T) {
	plain := errors.New("it broke")
	tests := []struct {
		name string
		err  error
		want Cause
	}{
		{"nil", nil, ""},
		{"nil marked", CauseStalled.Wrap(nil), ""},
		{"unmarked", plain, CauseOther},
		{"marked", CauseBadBlock.Wrap(plain), CauseBadBlock},
		{"marked below", fmt.Errorf("pin: %w", CauseStalled.Wrap(plain)), CauseStalled},
		{"outermost wins", CauseNoProvider.Wrap(CauseStalled.Wrap(plain)), CauseNoProvider},
		{"mark before kind", Full.Errorf("x: %w", CauseTooBig.Wrap(plain)), CauseTooBig},
		{"full", Full.Errorf("no room"), CauseDiskFull},
		{"too large", TooLarge.Errorf("2 MiB block"), CauseTooBig},
		{"unavailable", Unavailable.Errorf("refused"), CauseBackendDown},
		{"deadline", fmt.Errorf("find: %w", context.DeadlineExceeded), CauseOther},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := CauseOf(tt.err); got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCauseWrapKeepsKindAndText(t *testing.T) {
	err := CauseDiskFull.Wrap(Full.Errorf("disk is full"))
	if KindOf(err) != Full || !errors.Is(err, Full) {
		t.Fatalf("kind %q, want %q", KindOf(err), Full)
	}
	if err.Error() != "disk is full" {
		t.Fatalf("text %q", err)
	}
}
