//go:build clients

package clients

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The compliance checker of the Pinning Service API, @ipfs-shipyard/pinning-service-compliance:
// all of its nine groups pass, the four among them that need the specification.
func TestPinningServiceCompliance(t *testing.T) {
	peers := cluster(t, "CLUSTER_PINSVCAPI_BASICAUTHCREDENTIALS="+user+":"+password)
	url := peers[0].PinSvc
	bearer := token(t, url)
	checker := tool(t, "NODE_MODULES", "@ipfs-shipyard/pinning-service-compliance/dist/src/index.js")
	preload, err := filepath.Abs("preload.mjs")
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"PINSVC_DOCUMENT=" + url + "/openapi.json", "PINSVC_TOKEN=" + bearer}
	out, err := run(t, 5*time.Minute, environ, "node", "--import", preload, checker, "-s", url, bearer)
	good, bad := strings.Count(out, "🟢"), strings.Count(out, "❌")+strings.Count(out, "⚠")
	t.Logf("%d lines are good, %d bad", good, bad)
	if err != nil || bad > 0 || !strings.Contains(out, "Summary (9/9 successful)") {
		t.Fatalf("it did not pass, %v:\n%s", err, out)
	}
}
