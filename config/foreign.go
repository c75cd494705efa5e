package config

import "strings"

// foreigners are the settings of IPFS Cluster without a meaning here. A section stands
// for everything below it. The hint says what there is instead.
var foreigners = []struct{ path, hint string }{
	{"cluster.id", "the identity is in identity.json"},
	{"cluster.private_key", "the identity is in identity.json"},
	{"cluster.leave_on_shutdown", "only cluster-ctl peers rm removes a peer"},
	{"cluster.enable_relay_hop", ""},
	{"cluster.state_sync_interval", "pins expire to the second"},
	{"cluster.peer_watch_interval", ""},
	{"cluster.pin_only_on_trusted_peers", ""},
	{"cluster.pin_only_on_untrusted_peers", ""},
	{"cluster.follower_mode", ""},
	{"cluster.peerstore_file", "it is peerstore in the peer's directory"},
	{"consensus.crdt", "Pinfold's pinset is replicated by Raft"},
	{"consensus.raft.data_folder", ""},
	{"consensus.raft.init_peerset", "peers join with a token from cluster-ctl peers invite"},
	{"consensus.raft.wait_for_leader_timeout", ""},
	{"consensus.raft.commit_retries", ""},
	{"consensus.raft.commit_retry_delay", "cluster.forward_retry is the nearest"},
	{"consensus.raft.backups_rotate", ""},
	{"consensus.raft.snapshot_interval", "consensus.raft.snapshot_threshold and log_bytes say when a snapshot is due"},
	{"consensus.raft.datastore_namespace", ""},
	{"ipfs_connector.ipfshttp.connect_swarms_delay", "cluster peers' nodes are kept connected"},
	{"ipfs_connector.ipfshttp.informer_trigger_interval", ""},
	{"ipfs_connector.ipfshttp.unpin_disable", "pins that leave the pinset leave the node"},
	{"pin_tracker.stateless.max_pin_queue_size", "the queue is not bounded"},
	{"pin_tracker.stateless.priority_pin_max_age", "pins that cannot be found hold up no other"},
	{"pin_tracker.stateless.priority_pin_max_retries", "pins that cannot be found hold up no other"},
	{"allocator", "cluster.spread_by names the tags that copies are spread over; free space comes next"},
	{"informer.disk", ""},
	{"informer.numpin", ""},
	{"informer.pinqueue", ""},
	{"informer.tags.metric_ttl", "cluster.monitor_ping_interval is half of what a metric lasts"},
	{"observations", ""},
	{"datastore", "the section state is about the pinset's database"},
}

// foreign tells whether IPFS Cluster alone knows path, with what to print after a
// message that says so.
func foreign(path string) (yes bool, hint string) {
	for _, f := range foreigners {
		if path != f.path && !strings.HasPrefix(path, f.path+".") {
			continue
		}
		if f.hint != "" {
			hint = ": " + f.hint
		}
		return true, hint
	}
	return false, ""
}

// refused are settings of IPFS Cluster that would do harm if they were ignored.
var refused = map[string]string{
	"source": "settings cannot be fetched from a URL; write them into this file",
}
