#!/usr/bin/env bash
test_description="cluster-ctl: contexts, ways in, bulk, waits, filters; flags of the incumbent's programs"
. ./lib.sh

export CLUSTER_CTL_CONFIG=$PWD/ctl.json

test_expect_success "a peer that asks for a password" '
	use_peer p && export CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=ann:secret &&
	service p init -f --consensus raft && launch p &&
	wait_for cluster-ctl --host "$API" --force-http --basic-auth ann:secret pin ls
'
test_expect_success "a context keeps address and password, for its owner alone" '
	cluster-ctl --host "$API" --force-http --basic-auth ann:secret context add home &&
	test "$(stat -c %a ctl.json)" = 600 && cluster-ctl id | grep -q "Sees 0 other" &&
	cluster-ctl context ls >out && grep -q "^\* home | $API | password of ann" out && test_must_fail grep -q secret out
'
test_expect_success "another context, chosen by flag, variable and use" '
	cluster-ctl context add gone --host 127.0.0.1:1 && cluster-ctl id &&
	test_expect_code 1 cluster-ctl --context gone id 2>err && grep -q "no peer listens there" err &&
	test_expect_code 1 env CLUSTER_CTL_CONTEXT=gone cluster-ctl id &&
	cluster-ctl context use gone && test_expect_code 1 cluster-ctl id && cluster-ctl context rm gone && cluster-ctl context use home
'
test_expect_success "an unknown context is named, with the fix" '
	test_expect_code 1 cluster-ctl --context work id 2>err && grep -q "no context \"work\": it names home" err && grep -q "context add work" err
'
test_expect_success "wrong credentials, wrong scheme, wrong address: what to do" '
	test_expect_code 2 cluster-ctl --host "$API" id >out 2>err && grep -q "Code: 401" out && grep -q "note: --basic-auth" err &&
	test_expect_code 2 cluster-ctl --host "$API" -f --basic-auth ann:wrong id >out && grep -q "access denied" out &&
	test_expect_code 1 cluster-ctl --host "$API" --basic-auth ann:secret id 2>err && grep -q "\-\-force-http" err &&
	test_expect_code 1 cluster-ctl --host nonsense id 2>err && grep -q "reading --host" err
'
test_expect_success "a token in place of the password" '
	T=$(cluster-ctl token create) && cluster-ctl --host "$API" -f --token "$T" id | grep -q "Sees 0 other" &&
	CLUSTER_TOKEN=$T cluster-ctl --host "$API" -f id && cluster-ctl token revoke "$T" &&
	test_expect_code 2 cluster-ctl --host "$API" -f --token "$T" id
'
test_expect_success "add --wait, pin add --wait --no-status, pin rm --wait" '
	echo waited >f && C=$(cluster-ctl add -Q --wait --wt 120s f) && cluster-ctl status "$C" | grep -q ": PINNED" &&
	cluster-ctl pin add --wait --no-status --wait-timeout 120s -n waited "$C" | grep -q "| waited | PIN |" &&
	cluster-ctl pin rm --wait --wait-timeout 120s "$C" | grep -q UNPINNED
'
test_expect_success "what nobody has ends a wait in time" '
	test_must_fail cluster-ctl pin add --wait --wait-timeout 20s bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy 2>err && grep -q "^error waiting" err
'
test_expect_success "flags are defaults of the lines of --file" '
	for i in 1 2 3; do echo "bulk $i" >f && cluster-ctl add -Q --no-pin f >>cids || return 1; done &&
	(sed -n 1,2p cids && echo && printf "{\"cid\":\"%s\",\"name\":\"own\"}" "$(sed -n 3p cids)") >lines &&
	cluster-ctl pin add --file lines --name bulk --metadata a=b 2>err | grep -q "^3 pinned, 0 failed" && test ! -s err &&
	test "$(cluster-ctl pin ls --name bulk | wc -l)" = 2 && test "$(cluster-ctl pin ls --name own --meta a=b | wc -l)" = 1
'
test_expect_success "filters of pin ls" '
	test "$(cluster-ctl pin ls --name-prefix bu --since 1h | wc -l)" = 2 && test "$(cluster-ctl pin ls --name-contains w | wc -l)" = 1 &&
	test -z "$(cluster-ctl pin ls --before 1h)" && cluster-ctl pin ls --status pinned --name own | grep -q ": PINNED"
'
test_expect_success "pin rm --file, from standard input" '
	cluster-ctl pin rm --file - <cids | grep -q "^3 unpinned, 0 failed" && test_expect_code 2 cluster-ctl pin rm --file cids 2>err && grep -q "line 2" err
'
test_expect_success "events go on where they were when the peer starts anew" '
	{ cluster-ctl --enc=json events --types pin --after 1 >events 2>notes & } && echo $! >events.pid &&
	echo before >f && cluster-ctl add -Q --name before f && wait_for grep -q before events &&
	kill_peer p && launch p && wait_for cluster-ctl id && echo later >f && cluster-ctl add -Q --name later f &&
	wait_for grep -q later events && grep -q "going on from event" notes && test "$(grep -c before events)" = 1 && kill_peer events
'
test_expect_success "help fits 120 columns" '
	cluster-ctl commands >all && grep -q "^cluster-ctl pin update$" all && grep -q "^cluster-ctl context$" all &&
	while read -r command; do $command --help; done <all | awk "length > 120 { bad = 1; print } END { exit bad }"
'
test_expect_success "cluster-service refuses what would be another cluster" '
	test_must_fail service q init --consensus crdt 2>err && grep -q "is not raft" err && test ! -e q &&
	test_must_fail service p state crdt info 2>err && grep -q "no CRDT state" err
'
test_expect_success "state cleanup puts the cluster aside, the peer starts another" '
	test_must_fail service p state cleanup -f 2>err && grep -q "in use" err && kill_peer p &&
	service p state export -f exported && service p state cleanup -f | grep -q "old.0" && test -d p/old.0/raft && test ! -e p/service.json &&
	service p init && launch p && wait_for cluster-ctl id && test -z "$(cluster-ctl pin ls)"
'
end_all
test_done
