package embedded

import (
	"log/slog"
	"testing"
)

func TestNode_GatewayOff(t *testing.T) {
	for name, tt := range map[string]struct {
		address string
		served  bool
	}{
		"off":     {Off, false},
		"empty":   {"", false},
		"address": {"/ip4/127.0.0.1/tcp/0", true},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := New(nil, t.TempDir(), Options{GatewayListenMultiaddress: tt.address}, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if got := n.GatewayURL(); (got != "") != tt.served {
				t.Errorf("gateway at %q, want one: %v", got, tt.served)
			}
		})
	}
}
