package config

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// prefixes are the environment's names of sections, as IPFS Cluster has them.
var prefixes = map[string]string{
	"cluster":                 "CLUSTER_",
	"consensus.raft":          "CLUSTER_RAFT_",
	"api.restapi":             "CLUSTER_RESTAPI_",
	"ipfs_connector.ipfshttp": "CLUSTER_IPFSHTTP_",
	"pin_tracker.stateless":   "CLUSTER_STATELESS_",
	"monitor.pubsubmon":       "CLUSTER_PUBSUBMON_",
	"allocator.balanced":      "CLUSTER_BALANCED_",
	"informer.disk":           "CLUSTER_DISK_",
	"informer.tags":           "CLUSTER_TAGS_",
	"embedded":                "CLUSTER_EMBEDDED_",
}

// otherVariables are read by somebody else than the settings tree, or belong to parts
// of IPFS Cluster that Pinfold does not have.
var otherVariables = []string{"CLUSTER_CREDENTIALS", "CLUSTER_ID", "CLUSTER_PRIVATEKEY"}

// envName gives the variable of the setting at path: the section's prefix and the rest
// of the path in capitals without underscores, joined by underscores.
func envName(path []string) string {
	for n := len(path) - 1; n > 0; n-- {
		prefix, ok := prefixes[strings.Join(path[:n], ".")]
		if !ok {
			continue
		}
		parts := make([]string, 0, len(path)-n)
		for _, p := range path[n:] {
			parts = append(parts, strings.ToUpper(strings.ReplaceAll(p, "_", "")))
		}
		return prefix + strings.Join(parts, "_")
	}
	return ""
}

// fromEnv sets what the environment (name=value pairs) says. A variable that starts
// with CLUSTER_ and means nothing is a warning.
func fromEnv(environ []string, tree reflect.Value, bad *faults, warn *[]string) {
	known := keys(tree, nil)
	byName := make(map[string]key, len(known))
	for _, k := range known {
		byName[envName(k.path)] = k
	}
	sorted := append([]string(nil), environ...)
	sort.Strings(sorted)
	for _, pair := range sorted {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "CLUSTER_") || isOther(name) {
			continue
		}
		k, ok := byName[name]
		if !ok {
			*warn = append(*warn, fmt.Sprintf("the environment variable %s means nothing to Pinfold and is ignored", name))
			continue
		}
		if err := setText(k.field, value); err != nil {
			bad.addf("%s: %v", name, err)
		}
	}
}

func isOther(name string) bool {
	for _, o := range otherVariables {
		if name == o {
			return true
		}
	}
	return false
}
