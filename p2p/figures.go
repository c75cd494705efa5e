package p2p

import "github.com/prometheus/client_golang/prometheus"

// Figures are libp2p's own (libp2p_*), of all hosts of this process: the library counts
// in variables of its packages, whatever registry a host is given.
var Figures = prometheus.NewRegistry()
