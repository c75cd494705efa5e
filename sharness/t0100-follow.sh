#!/usr/bin/env bash
test_description="collaborative clusters: a link, followers, their limits"
. ./lib.sh

head -c 500000 /dev/urandom >one
head -c 400000 /dev/urandom >two
head -c 300000 /dev/urandom >three

# follow ARGS...: the follow command, with followers on loopback only.
follow() { (exec_follow "$@"); }

# exec_follow ARGS...: becomes it.
exec_follow() {
	unset ${!CLUSTER_@} # those of the peers
	export CLUSTER_PEERNAME=volunteer CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0 \
		CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0
	exec cluster-service -c "$FOLLOW" follow "$@"
}

# start_follower NAME ARGS...: runs a follower, whose process is in NAME.pid.
start_follower() {
	exec_follow "$@" >>"$1.log" 2>&1 &
	echo $! >"$1.pid"
}

# has NAME N: the follower has N pins whole, and no others.
has() {
	[ "$(follow "$1" list | grep -c "^pinned ")" = "$2" ] && [ "$(follow "$1" list | wc -l)" = "$2" ]
}

# known tells whether the peers know the follower.
known() { ctl p1 followers ls | grep -q volunteer; }

gateway_of() { follow "$1" | sed -n 's/^Content *\(.*\)CID$/\1/p'; }

# ask NAME METHOD PATH: the answer's status.
ask() { curl -s -o answer -w '%{http_code}' -X "$2" --unix-socket "$FOLLOW/$1/api-socket" "http://x$3"; }

FOLLOW=$(mktemp -d /tmp/followXXXXXX) # a socket's name is short

test_expect_success "three peers and some content" '
	start_cluster 3 && ONE=$(ctl p1 add -Q one)
'
test_expect_success "nothing is followed at first" '
	follow >out && grep -q "No cluster is followed" out &&
	test_must_fail follow archive 2>err && grep -q "no such cluster is followed" err
'
test_expect_success "a follow link is one word" '
	LINK=$(ctl p1 follow-link) && case $LINK in pinfold-follow1_*) ;; *) false ;; esac
'
test_expect_success "a damaged link is refused, and leaves nothing" '
	test_must_fail follow archive "${LINK%????}" 2>err && grep -q "copy it whole" err && test ! -e "$FOLLOW/archive"
'
test_expect_success "a token to join is no link" '
	test_must_fail follow archive "$(ctl p1 peers invite)" 2>err && grep -q "cluster-service join" err
'
test_expect_success "one command follows" '
	start_follower archive "$LINK" && wait_for has archive 1 &&
	wait_for grep -q "up to date: holds 1 of" archive.log || { cat archive.log >&2; false; }
'
test_expect_success "what is followed is served locally" '
	curl -sf "$(gateway_of archive)$ONE" >got && cmp one got
'
test_expect_success "adds come, unpins go" '
	TWO=$(ctl p2 add -Q two) && wait_for has archive 2 && curl -sf "$(gateway_of archive)$TWO" >got && cmp two got &&
	ctl p3 pin rm "$ONE" && wait_for has archive 1
'
test_expect_success "it reads and does not write" '
	test "$(ask archive GET /allocations)" = 200 && grep -q "$TWO" answer &&
	test "$(ask archive GET /pins/$TWO)" = 200 && test "$(ask archive GET /id)" = 200 && grep -q "\"role\":\"follower\"" answer &&
	test "$(ask archive POST /pins/$ONE)" = 403 && grep -q "this is a follower" answer &&
	test "$(ask archive DELETE /pins/$TWO)" = 403 && test "$(ask archive POST /peers/invite)" = 403 &&
	test "$(ask archive POST /followers/link)" = 403 && ctl p1 pin ls | grep -q "$TWO"
'
test_expect_success "a second process keeps out" '
	test_must_fail follow archive run 2>err && grep -q "in use by another process" err
'
test_expect_success "a peer knows the follower, and shows its copies apart" '
	wait_for known && ctl p1 status --followers "$TWO" >out && grep -q "followers, as they say" out
'
test_expect_success "kill -9, and it catches up" '
	kill_peer archive KILL && THREE=$(ctl p1 add -Q three) && ctl p1 pin rm "$TWO" &&
	start_follower archive run && wait_for has archive 1 && curl -sf "$(gateway_of archive)$THREE" >got && cmp three got
'
test_expect_success "D18: list works while it does not run" '
	kill_peer archive TERM && follow archive list >out && test "$(cat out | wc -l)" = 1 && grep -q "^offline  *$THREE three$" out &&
	follow archive >out && grep -q "^Running  *no" out
'
test_expect_success "a link is followed by its URL too, read anew at each start" '
	PORT=$(free_ports 1) && use_peer p1 &&
	{ cluster-ctl --host "$API" follow-link --serve ":$PORT" 2>serve.log & echo $! >serve.pid; } &&
	wait_for curl -sf "http://127.0.0.1:$PORT/follow.json" && start_follower byurl "http://127.0.0.1:$PORT/follow.json" --hold allocated &&
	wait_for eval "follow byurl | grep -q \"up to date: holds 0 of\""
'
test_expect_success "several are followed on one machine" '
	start_follower archive run && wait_for has archive 1 && follow >out && grep -q "found for 2 follower" out && grep -q "archive (running)" out && grep -q "byurl (running)" out
'
test_expect_success "a pin names a follower, which takes it" '
	ID=$(follow byurl | sed -n "s/.*peer \(12D3.*\)/\1/p") && ctl p1 pin add --no-status --follower-allocations "$ID" "$THREE" &&
	wait_for eval "follow byurl list | grep -q \"^pinned  *$THREE\"" && ctl p1 --enc=json pin ls "$THREE" | grep -q "\"followers\":\[\"$ID\"\]"
'
test_expect_success "a URL that cannot be read does not keep it from starting" '
	kill_peer byurl TERM && kill_peer serve TERM && start_follower byurl run && wait_for eval "follow byurl | grep -q \"^Running  *yes\"" &&
	grep -q "the follower goes on with the one it has" byurl.log
'
# A pin that came after the share was chosen is fitted in, or left out, within a minute.
test_expect_success "a share stays within its capacity" '
	head -c 990000 /dev/urandom >four && ctl p1 add -Q four && head -c 1200000 /dev/urandom >five && ctl p1 add -Q five &&
	start_follower share "$LINK" --capacity 1MiB &&
	wait_for eval "test \"\$(follow share list | cut -d\" \" -f1 | sort | xargs)\" = \"pinned remote remote\"" &&
	wait_for eval "follow share | grep -q \"1 too large for the share (1.1 MiB at least, room for 973 KiB)\"" &&
	follow share | grep -q "share, 1.0 MiB at most"
'
test_expect_success "limits that make no sense are refused" '
	test_must_fail follow other "$LINK" --capacity tiny 2>err && grep -q -- "--capacity" err &&
	test_must_fail follow other "$LINK" --hold most 2>err && grep -q "all, allocated or share" err &&
	test_must_fail follow ../other "$LINK" 2>err && grep -q "reading the name" err && test_expect_code 3 follow archive frobnicate
'
test_expect_success "leave removes it" '
	test_must_fail follow archive leave --force && kill_peer archive TERM && follow archive leave --force && test ! -e "$FOLLOW/archive" &&
	follow >out && test_must_fail grep -q archive out
'
test_expect_success "where the secret makes members, no link is made" '
	ctl p1 follow-link >out && kill_peer p1 TERM && echo "export CLUSTER_JOINPOLICY=secret" >>p1.env && start_peer p1 &&
	test_expect_code 2 ctl p1 follow-link >out && grep -q "Code: 409" out && grep -q join_policy out
'
end_all
rm -rf "$FOLLOW"
test_done
