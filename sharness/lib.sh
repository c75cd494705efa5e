# What the tests share. Source it after setting test_description.
: "${BIN:?the directory of the built binaries}"
: "${SHARNESS:=/usr/share/sharness/sharness.sh}"
export LC_ALL=C
. "$SHARNESS"
PATH=$BIN:$PATH # after sharness, which puts the folder above first

# wait_for COMMAND...: succeeds once the command does, on a slow machine too.
wait_for() {
	local deadline=$(($(date +%s) + 180))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$deadline" ] || { echo "gave up waiting for: $*" >&2; return 1; }
		sleep 0.1
	done
}

# free_ports N: prints N ports that nothing listens on now, and that it has not given before.
free_ports() {
	local n=$1 p
	while [ "$n" -gt 0 ]; do
		p=$((20000 + RANDOM % 12000))
		if ! grep -qsx "$p" ports.given && ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then
			echo "$p" | tee -a ports.given
			n=$((n - 1))
		fi
	done
}

# use_peer DIR: gives the peer of DIR its own ports, kept in DIR.env.
use_peer() {
	if [ ! -f "$1.env" ]; then
		set -- "$1" $(free_ports 6)
		cat >"$1.env" <<-EOF
		export CLUSTER_PEERNAME=$(basename "$1")
		export CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$2
		export CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$3
		export CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$4
		export CLUSTER_EMBEDDED_GATEWAYLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$5
		export CLUSTER_PINSVCAPI_HTTPLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$6
		export CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/$7
		export CLUSTER_METRICS_LISTENMULTIADDRESS=off
		export CLUSTER_MONITORPINGINTERVAL=2s
		export CLUSTER_REPAIRGRACE=5s
		export CLUSTER_RAFT_VOTERINTERVAL=300ms
		API=http://127.0.0.1:$2
		SWARM=/ip4/127.0.0.1/tcp/$3
		GATEWAY=http://127.0.0.1:$5
		PINSVC=http://127.0.0.1:$6
		PROXY=/ip4/127.0.0.1/tcp/$7
		EOF
	fi
	. "./$1.env"
}

# service DIR ARGS...: cluster-service with the settings of the peer of DIR.
service() {
	(use_peer "$1" && exec cluster-service -c "$@")
}

# ctl DIR ARGS...: cluster-ctl against the peer of DIR.
ctl() {
	local dir=$1
	shift
	(use_peer "$dir" && exec cluster-ctl --host "$API" --timeout 120 "$@")
}

# launch DIR [COMMAND...]: starts the peer (daemon, or the command, such as join
# TOKEN). Its process is in DIR.pid.
launch() {
	local dir=$1
	shift
	use_peer "$dir"
	(exec cluster-service -c "$dir" "${@:-daemon}" >>"$dir.log" 2>&1) &
	echo $! >"$dir.pid"
}

# start_peer DIR [COMMAND...]: launches the peer and waits until it answers.
start_peer() {
	launch "$@"
	wait_for ctl "$1" pin ls || { cat "$1.log" >&2; return 1; }
}

kill_peer() { # DIR SIGNAL
	local pid
	pid=$(cat "$1.pid") && kill "-${2:-TERM}" "$pid" 2>/dev/null
	wait_for eval "! kill -0 $pid"
}

# end_all ends whatever peers the test left running.
end_all() {
	local f
	for f in *.pid; do
		[ -f "$f" ] && kill -KILL "$(cat "$f")" 2>/dev/null
	done
	true
}

# start_cluster N: peers p1 to pN, each in a process, all joined.
start_cluster() {
	service p1 init >/dev/null && start_peer p1 || return 1
	local i
	for i in $(seq 2 "$1"); do
		start_peer "p$i" join "$(ctl p1 peers invite)" || return 1
	done
	for i in $(seq 1 "$1"); do
		wait_for sees "p$i" "$1" || return 1
	done
	wait_for votes $(($1 > 5 ? 5 : $1 - 1 + $1 % 2)) || return 1
}

# votes N: N peers vote; with fewer, the death of one may leave no majority.
votes() { [ "$(ctl p1 --enc=json peers ls | grep -c '"role":"\(voter\|leader\)"')" = "$1" ]; }

sees() { [ "$(ctl "$1" --enc=json peers ls | grep -c '"error":"","ipfs"')" = "$2" ]; }

# field NAME: the string values of that key in JSON on standard input, a line each.
field() { grep -o "\"$1\":\"[^\"]*\"" | cut -d'"' -f4; }

# pinned DIR CID N: the peer says that N peers have the content pinned.
pinned() { [ "$(ctl "$1" --enc=json status "$2" | grep -o '"status":"pinned"' | wc -l)" = "$3" ]; }
