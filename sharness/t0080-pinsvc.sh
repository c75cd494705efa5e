#!/usr/bin/env bash
test_description="the Pinning Service API: requests through every peer, and after kill -9 of all"
. ./lib.sh

# pinsvc DIR METHOD PATH [BODY]: asks the peer's Pinning Service API.
pinsvc() {
	(use_peer "$1" && curl -s -X "$2" "$PINSVC$3" ${4:+-d "$4"})
}

# requests DIR QUERY: the requestids that the peer lists.
requests() { pinsvc "$1" GET "/pins?limit=1000&$2" | field requestid | sort; }

restart_all() {
	local i
	for i in 1 2 3; do
		kill_peer p$i KILL || return 1
	done
	for i in 1 2 3; do
		launch p$i
	done
	for i in 1 2 3; do
		wait_for sees p$i 3 || return 1
	done
}

echo content >file

test_expect_success "three peers are up" 'start_cluster 3'
test_expect_success "one CID is asked for through all peers at once" '
	C=$(ctl p1 add -Q file) && ctl p1 pin rm --no-status "$C" >/dev/null &&
	for i in 1 2 3; do
		(for n in 1 2 3 4 5; do pinsvc p$i POST /pins "{\"cid\":\"$C\",\"name\":\"$i-$n\"}" >answer.$i.$n; done) &
		echo $! >asker.$i
	done &&
	for i in 1 2 3; do wait "$(cat asker.$i)"; done &&
	cat answer.* | field requestid | sort >want && test "$(uniq want | wc -l)" = 15
'
test_expect_success "every peer lists all of them" '
	for i in 1 2 3; do
		wait_for eval "requests p$i cid=$C >got && cmp want got" || return 1
	done
'
test_expect_success "they survive kill -9 of all peers" '
	restart_all && for i in 1 2 3; do
		wait_for eval "requests p$i cid=$C >got && cmp want got" || return 1
	done
'
test_expect_success "they go one by one through any peer, and the pin with the last" '
	i=0 && for id in $(cat want); do
		ctl p2 pin ls "$C" >/dev/null && i=$((i % 3 + 1)) && pinsvc p$i DELETE "/pins/$id" || return 1
	done &&
	wait_for test_expect_code 2 ctl p2 pin ls "$C"
'
end_all
test_done
