package consensus

import (
	"flag"
	"os"
	"testing"
)

// The clusters of these tests mostly wait for elections: more of them run at once than
// there are cores.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4")
	}
	os.Exit(m.Run())
}
