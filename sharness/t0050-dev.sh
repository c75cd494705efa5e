#!/usr/bin/env bash
test_description="dev: a cluster that is stopped comes back"
. ./lib.sh

# dev_start: runs a cluster in c; its process is in dev.pid.
dev_start() {
	rm -f c/dev.json
	(exec cluster-service dev --peers 3 --dir c >>dev.log 2>&1) &
	echo $! >dev.pid
	wait_for test -f c/dev.json && API=$(grep -m 1 -o "http://[0-9.:]*" c/dev.json)
}

test_expect_success "it starts" 'dev_start'
test_expect_success "the token is in no peer's arguments" '
	! ps -eo args | grep -a "pinfold[1]_"
'
test_expect_success "what was added is there after a restart of all" '
	echo kept >kept && C=$(cluster-ctl --host "$API" add -Q --replication 2 kept) &&
	kill_peer dev && dev_start && cluster-ctl --host "$API" pin ls | grep -q "$C"
'
kill_peer dev
test_done
