#!/usr/bin/env bash
test_description="one peer: add, pin, status, gateway"
. ./lib.sh

head -c 3000000 /dev/urandom >file
mkdir -p tree/sub && echo hello >tree/one.txt && echo world >tree/sub/two.txt && echo secret >tree/.hidden

test_expect_success "a peer starts from init" '
	service p init && start_peer p
'
test_expect_success "id and version" '
	ctl p id >out && grep -q "Sees 0 other peers" out && ctl p version >out && grep -q "^[0-9]" out
'
test_expect_success "add a file and read it from the gateway" '
	CID=$(ctl p add -Q file) && use_peer p &&
	curl -sf "$GATEWAY/ipfs/$CID" >got && cmp file got
'
test_expect_success "it is pinned, with its name" '
	ctl p pin ls | grep "^$CID | file | PIN" &&
	wait_for pinned p "$CID" 1 && ctl p status "$CID" | grep ": PINNED"
'
test_expect_success "add a directory; hidden files only when asked" '
	ctl p add -r tree >out && DIR=$(tail -n 1 out | cut -d" " -f2) &&
	curl -sf "$GATEWAY/ipfs/$DIR/sub/two.txt" >got && cmp tree/sub/two.txt got &&
	test_must_fail curl -sf "$GATEWAY/ipfs/$DIR/.hidden" &&
	ctl p add -r -H tree >out && DIR2=$(tail -n 1 out | cut -d" " -f2) &&
	curl -sf "$GATEWAY/ipfs/$DIR2/.hidden" >got && cmp tree/.hidden got
'
test_expect_success "pin what a name leads to; a name that nobody published is refused" '
	RPC=http://127.0.0.1:${PROXY##*/}/api/v0 && TWO=$(ctl p add -Q --no-pin tree/sub/two.txt) &&
	NAME=$(curl -sf -X POST "$RPC/name/publish?arg=/ipfs/$DIR&allow-offline=true" | sed "s/.*Name\":\"\([^\"]*\).*/\1/") &&
	ctl p pin add --no-status "/ipns/$NAME/sub/two.txt" && ctl p pin ls >out && grep -q "^$TWO" out &&
	ctl p pin rm "/ipns/$NAME/sub/two.txt" && ctl p pin ls >out && test_must_fail grep -q "^$TWO" out &&
	test_expect_code 2 ctl p pin add /ipns/nobody.example >out && grep -q "Code: 400" out &&
	test_expect_code 2 ctl p pin add "/ipns/$NAME/none" >out && grep -q "Code: 404" out
'
test_expect_success "pin rm" '
	ctl p pin rm "$CID" && ctl p pin ls >out && test_must_fail grep -q "$CID" out
'
test_expect_success "pin rm of what is not pinned: exit code 2 and the reason" '
	test_expect_code 2 ctl p pin rm "$CID" >out && grep -q "Code: 404" out && grep -q "not part of the pinset" out
'
test_expect_success "a malformed CID is refused before anything is asked" '
	test_expect_code 1 ctl p pin rm notacid 2>err && grep -qi "cid" err
'
test_expect_success "more copies than peers are refused, and nothing is pinned" '
	test_expect_code 2 ctl p pin add --replication 3 "$CID" >out && grep -q "not enough peers" out &&
	ctl p pin ls >out && test_must_fail grep -q "$CID" out
'
test_expect_success "adds that are refused: exit code 2 and the code" '
	test_expect_code 2 ctl p add --replication 3 file >out && grep -q "Code: 400" out && grep -q "not enough peers" out &&
	test_expect_code 2 ctl p --enc=json add --hash md5 file >out && grep -q "^{\"code\":400," out && grep -q md5 out &&
	test_expect_code 2 ctl p add --format car file >out && grep -q "Code: 400" out && grep -q CAR out
'
test_expect_success "another hash chooses CID version 1" '
	ctl p add -Q --hash blake3 tree/one.txt >out && grep -q "^bafkr4i" out
'
test_expect_success "flags that contradict each other are refused" '
	test_expect_code 1 ctl p add --replication 2 --replication-min 3 file 2>err && grep -q "replication-min" err
'
test_expect_success "unknown command: exit code 3" '
	test_expect_code 3 ctl p frobnicate && test_expect_code 3 service p frobnicate
'
test_expect_success "a pin with a metadata, a name and an expiry" '
	ctl p pin add --no-status --name "a name" --metadata k=v --expire-in 1h "$CID" &&
	ctl p --enc=json pin ls "$CID" >out && grep -q "\"metadata\":{\"k\":\"v\"}" out && grep -q "\"name\":\"a name\"" out &&
	test_must_fail grep -q "\"expire_at\":\"0001" out
'
test_expect_success "pins expire to the second" '
	ctl p pin add --no-status --expire-in 2s "$CID" &&
	wait_for eval "! ctl p pin ls | grep -q $CID"
'
test_expect_success "acknowledged pins outlive kill -9" '
	KEPT=$(ctl p add -Q file) && kill_peer p KILL && start_peer p &&
	ctl p pin ls | grep -q "$KEPT" && wait_for pinned p "$KEPT" 1 &&
	curl -sf "$GATEWAY/ipfs/$KEPT" >got && cmp file got
'
test_expect_success "it stops when asked" '
	kill_peer p TERM
'
end_all
test_done
