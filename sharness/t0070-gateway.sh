#!/usr/bin/env bash
test_description="HTTP gateway: files, ranges, caching, subdomains, blocks and CARs, limits"
. ./lib.sh

export CLUSTER_EMBEDDED_RETRIEVALTIMEOUT=5s # by itself 30s
head -c 3000000 /dev/urandom >big
mkdir -p tree/sub tree/site && echo hello >tree/hello.txt && echo two >"tree/sub/two words.txt" &&
	echo "<title>index</title>" >tree/site/index.html && echo "/old /new 302" >tree/site/_redirects
MISSING=bafkreibghldxlevdd5iryzhtwvs637erxescddbrnh24tgc6fl2j2zfr6u

# get ARGS...: the status of a request; its head is in head, its body in body.
get() { : >body; curl -s -D head -o body -w "%{http_code}\n" "$@"; }

# status CODE ARGS...: the request is answered so.
status() {
	local want=$1 got
	shift
	got=$(get "$@")
	[ "$got" = "$want" ] || { echo "$got, not $want: $*" >&2; cat body >&2; return 1; }
}

# has NAME VALUE: the last answer has that header.
has() { tr -d '\r' <head | grep -qix "$1: $2" || { cat head >&2; return 1; }; }

# raw_cid FILE: the CID of a raw block of the file's bytes.
raw_cid() {
	printf "b%s\n" "$(printf "01551220%s" "$(sha256sum <"$1" | cut -d' ' -f1)" | sed 's/../\\x&/g' | xargs -0 printf |
		base32 -w 0 | tr 'A-Z' 'a-z' | tr -d '=')"
}

test_expect_success "two peers; only the first holds the content" '
	start_cluster 2 &&
	P1=$(ctl p1 --enc=json id | field id | head -n 1) &&
	BIG=$(ctl p1 add -Q --replication 1 --allocations "$P1" big) &&
	DIR=$(ctl p1 add -r --cid-version 1 --replication 1 --allocations "$P1" tree | tail -n 1 | cut -d" " -f2) &&
	use_peer p1 && HERE=$GATEWAY && use_peer p2 && THERE=$GATEWAY
'
for where in HERE THERE; do
	G=${!where}
	test_expect_success "$where: the bytes are equal, and so are those of a range" '
		status 200 "$G/ipfs/$BIG" && cmp big body &&
		status 206 -r 1000000-1999999 "$G/ipfs/$BIG" && head -c 2000000 big | tail -c 1000000 | cmp - body &&
		status 206 -r -10 "$G/ipfs/$BIG" && tail -c 10 big | cmp - body &&
		status 416 -r 9999999- "$G/ipfs/$BIG" &&
		status 200 "$G/ipfs/$DIR/sub/two%20words.txt" && cmp "tree/sub/two words.txt" body
	'
	test_expect_success "$where: caches are told for how long" '
		status 200 "$G/ipfs/$DIR/hello.txt" && has Cache-Control "public, max-age=29030400, immutable" &&
		ETAG=$(tr -d "\r" <head | sed -n "s/^[Ee]tag: //p") && [ -n "$ETAG" ] &&
		status 304 -H "If-None-Match: $ETAG" "$G/ipfs/$DIR/hello.txt" && [ ! -s body ] &&
		status 200 -I "$G/ipfs/$BIG" && has Content-Length 3000000
	'
	test_expect_success "$where: directories" '
		status 301 "$G/ipfs/$DIR" && has Location "/ipfs/$DIR/" &&
		status 200 "$G/ipfs/$DIR/" && grep -q "hello.txt" body &&
		status 200 "$G/ipfs/$DIR/site/" && cmp tree/site/index.html body
	'
	test_expect_success "$where: a block has the hash that its CID says" '
		LEAF=$(raw_cid tree/hello.txt) && status 200 "$G/ipfs/$DIR/hello.txt?format=raw" &&
		[ "$(raw_cid body)" = "$LEAF" ] && has Etag "\"$LEAF.raw\"" && status 200 -H "Accept: application/vnd.ipld.raw" "$G/ipfs/$LEAF"
	'
	test_expect_success "$where: a CAR holds the file" '
		status 200 "$G/ipfs/$DIR/hello.txt?format=car" && has Content-Type "application/vnd.ipld.car; version=1; order=dfs; dups=n" &&
		tail -c 6 body | cmp - tree/hello.txt && status 200 "$G/ipfs/$BIG?format=car" && [ "$(wc -c <body)" -gt 3000000 ] &&
		status 200 "$G/ipfs/$BIG?format=car&dag-scope=block" && [ "$(wc -c <body)" -lt 3000 ]
	'
	test_expect_success "$where: subdomains" '
		PORT=${G##*:} && SITE=http://$DIR.ipfs.localhost:$PORT && LOCAL="--resolve $DIR.ipfs.localhost:$PORT:127.0.0.1" &&
		status 301 --resolve "localhost:$PORT:127.0.0.1" "http://localhost:$PORT/ipfs/$DIR/hello.txt" && has Location "$SITE/hello.txt" &&
		status 200 $LOCAL "$SITE/hello.txt" && cmp tree/hello.txt body &&
		status 400 $LOCAL --path-as-is "$SITE/..%2F$BIG"
	'
	test_expect_success "$where: what nobody has is given up in time" '
		SECONDS=0 && status 504 "$G/ipfs/$MISSING" && has Retry-After 10 && status 504 "$G/ipfs/$MISSING?format=car" && [ "$SECONDS" -lt 45 ]
	'
	test_expect_success "$where: what is wrong is 4xx" '
		status 404 "$G/" && status 400 "$G/ipfs/notacid" && status 404 "$G/ipfs/$DIR/none" && status 400 "$G/ipns/foo" &&
		status 404 "$G/ipns/k51qzi5uqu5dhkdbjdsauuyk2iyq82mzxo1jtjj5e0zrkl6nvnvpxzxs6hjeqe" && status 404 "$G/ipns/example.org" &&
		status 405 -X POST "$G/ipfs/$DIR" && status 400 --path-as-is "$G/ipfs/$DIR/../../x" && status 412 -H "Cache-Control: only-if-cached" "$G/ipfs/$MISSING"
	'
done
test_expect_success "reading left nothing on the second peer" '
	use_peer p2 && export CLUSTER_EMBEDDED_GATEWAYNOFETCH=true && kill_peer p2 TERM && start_peer p2 &&
	status 404 "$GATEWAY/ipfs/$BIG" && unset CLUSTER_EMBEDDED_GATEWAYNOFETCH
'
test_expect_success "a pin of a path that nobody has is given up in time, and says so" '
	SECONDS=0 && test_must_fail ctl p1 pin add "/ipfs/$MISSING/a/path" >out 2>&1 && [ "$SECONDS" -lt 25 ] &&
	grep -q "no peer of the cluster gave the content in time" out
'
end_all
test_done
