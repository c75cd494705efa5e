#!/usr/bin/env bash
test_description="state export, import and recover"
. ./lib.sh

# Two pins as ipfs-cluster-service 1.1.6 exports them, one of a peer that is not here.
cat >incumbent <<'EOF'
{"replication_factor_min":-1,"replication_factor_max":-1,"name":"W","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":{"k":"v"},"pin_update":null,"origins":[],"cid":"QmVn1Gtd6p8E4ksns3frUcLuzAmif2ooBRvYQh3yGZy3L5","type":"pin","allocations":[],"max_depth":-1,"reference":null,"timestamp":"2026-11-20T23:46:09Z"}
{"replication_factor_min":1,"replication_factor_max":1,"name":"remote","mode":"direct","shard_size":104857600,"user_allocations":null,"expire_at":"2096-11-21T00:44:26Z","metadata":null,"pin_update":null,"origins":["/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqaXSG"],"cid":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG","type":"pin","allocations":["12D3KooWMPrfBEZDMyNn1dVxBcMck2cmJgL3iqLS772Tm9sDaSDB"],"max_depth":0,"reference":null,"timestamp":"2026-11-20T23:44:26Z"}
EOF

test_expect_success "a peer" 'service p init && start_peer p'
test_expect_success "the incumbent's export comes in" '
	service p state import --force incumbent 2>err && grep -q "2 pins imported" err &&
	ctl p pin ls | grep "QmVn1Gtd6p8E4ksns3frUcLuzAmif2ooBRvYQh3yGZy3L5 | W | PIN | Repl. Factor: -1" &&
	ctl p --enc=json pin ls QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG >pin &&
	grep -q "\"mode\":\"direct\"" pin && grep -q "2096-11-21T00:44:26Z" pin
'
test_expect_success "a damaged export changes nothing and says which line" '
	(cat incumbent && echo "{\"cid\":\"nonsense\"}") >damaged && ctl p pin ls | sort >before &&
	test_must_fail service p state import --force damaged 2>err && grep -q "3" err &&
	ctl p pin ls | sort >after && cmp before after
'
test_expect_success "export while the peer runs" '
	service p state export >running 2>err && test "$(wc -l <running)" = 2 && grep -q "\"name\":\"W\"" running &&
	grep -q "^exported the pinset at log index [1-9]" err
'
test_expect_success "export while it does not: the same" '
	kill_peer p && service p state export --file stopped 2>err && grep -q "log index" err &&
	sort running >a && sort stopped >b && cmp a b
'
test_expect_success "an export that fails leaves the older file" '
	cp stopped older && test_must_fail service nobody state export --file stopped && cmp stopped older &&
	test_must_fail service p state export --file no/such/folder
'
test_expect_success "an export of ours comes in again" '
	service q init && start_peer q && service q state import --force stopped && ctl q pin ls | grep -q "| W |"
'
test_expect_success "recover asks for the flag" '
	test_must_fail service p state recover 2>err && grep -q force-new-cluster err
'
test_expect_success "recover refuses while the peer runs" '
	test_must_fail service q --force state recover --force-new-cluster 2>err && grep -q "in use" err
'
test_expect_success "one survivor of three starts anew; the others are refused" '
	start_cluster 3 && echo kept >kept && C=$(ctl p1 add -Q --replication 3 kept) && wait_for pinned p1 "$C" 3 &&
	kill_peer p1 KILL && kill_peer p2 KILL && kill_peer p3 KILL &&
	service p1 --force state recover --force-new-cluster && start_peer p1 &&
	launch p2 && launch p3 &&
	wait_for sees p1 1 && ctl p1 pin ls | grep -q "$C" &&
	echo new >new && ctl p1 add -Q new && wait_for pinned p1 "$C" 1 && sees p1 1
'
end_all
test_done
