#!/usr/bin/env bash
test_description="the demo: a file survives the death of a holder"
. ./lib.sh

test_expect_success "the demo passes" '
	(cd "$SHARNESS_TEST_DIRECTORY/.." && go run ./demo -bin "$BIN") >out 2>&1 || { cat out; false; }
'
test_expect_success "within a minute, or three on a slow machine" '
	awk "/^ *all +[0-9.]+ s/ {exit !(\$2 < 180)}" out
'
test_expect_success "it leaves no process behind" '
	! pgrep -f "pinfold-demo-"
'
test_done
