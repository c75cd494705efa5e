#!/usr/bin/env bash
test_description="three peers: forwarding, copies, kill -9 of all"
. ./lib.sh

# start_together starts all three, which have been killed, at once.
start_together() {
	local i
	for i in 1 2 3; do
		wait_for eval "! kill -0 $(cat p$i.pid)" || return 1
		launch p$i
	done
	for i in 1 2 3; do
		wait_for sees p$i 3 || return 1
	done
}

# same_digest succeeds where all three have the same pinset.
same_digest() {
	test "$(for i in 1 2 3; do ctl p$i --enc=json id | field digest; done | sort -u | wc -l)" = 1
}

head -c 2000000 /dev/urandom >file

test_expect_success "three peers join by token" 'start_cluster 3'
test_expect_success "invite prints the token and nothing else" '
	ctl p1 peers invite >token && test "$(wc -l <token)" = 1 && test "$(wc -w <token)" = 1
'
test_expect_success "a damaged token is refused with a clear error" '
	test_must_fail service p9 join "$(head -c 60 token)" 2>err && grep -qi token err && test ! -f p9/service.json
'
test_expect_success "pin through every peer and read the write there at once" '
	for i in 1 2 3; do
		echo "content $i" >f$i && C=$(ctl p$i add -Q --replication 2 f$i) &&
		ctl p$i pin ls "$C" | grep -q "$C" || return 1
	done
'
test_expect_success "unpin through every peer and read the write there at once" '
	for i in 1 2 3; do
		C=$(ctl p$i add -Q --replication 2 f$i) && ctl p$i pin rm --no-status "$C" &&
		test_expect_code 2 ctl p$i pin ls "$C" || return 1
	done
'
test_expect_success "two copies are there when the add is acknowledged" '
	C=$(ctl p1 add -Q --replication 2 file) && wait_for pinned p1 "$C" 2
'
test_expect_success "every gateway gives the file" '
	for i in 1 2 3; do
		use_peer p$i && curl -sf "$GATEWAY/ipfs/$C" >got && cmp file got || return 1
	done
'
test_expect_success "kill -9 of all three at once loses nothing" '
	for i in $(seq 1 30); do echo "pin $i" >f && ctl p$((i % 3 + 1)) add -Q --replication 2 f >>acknowledged || return 1; done &&
	kill -KILL $(cat p1.pid p2.pid p3.pid) &&
	start_together &&
	ctl p2 --enc=json pin ls | field cid | sort >have &&
	sort acknowledged >want && test -z "$(comm -13 have want)"
'
test_expect_success "the digests are equal" '
	wait_for same_digest
'
test_expect_success "the cluster goes on without its leader" '
	L=$(ctl p1 --enc=json peers ls | grep "\"role\":\"leader\"" | field peername) &&
	kill_peer "$L" KILL && O=$(echo p1 p2 p3 | tr " " "\n" | grep -v "$L" | head -n 1) &&
	wait_for ctl "$O" pin add --no-status --replication 1 QmVn1Gtd6p8E4ksns3frUcLuzAmif2ooBRvYQh3yGZy3L5
'
end_all
test_done
