#!/usr/bin/env bash
test_description="init, config show and settings"
. ./lib.sh

test_expect_success "init writes the files" '
	service a init >out &&
	grep -q "configuration written to" out &&
	test -f a/service.json && test -f a/identity.json &&
	test "$(stat -c %a a/service.json)" = 600 && test "$(stat -c %a a/identity.json)" = 600
'
test_expect_success "init does not overwrite what is there" '
	cp a/identity.json before &&
	test_must_fail service a init 2>err &&
	grep -q "already" err && cmp before a/identity.json
'
test_expect_success "service.json holds only what differs from the defaults" '
	grep -q secret a/service.json && test_must_fail grep -q snapshot_threshold a/service.json
'
test_expect_success "config show prints every setting in force" '
	service a config show >out && grep -q snapshot_threshold out && grep -q replication_factor_min out
'
test_expect_success "config show keeps the secret to itself" '
	secret=$(field secret <a/service.json) && test -n "$secret" || secret=$(grep -o "[0-9a-f]\{64\}" a/service.json)
	test -n "$secret" && test_must_fail grep -q "$secret" out
'
test_expect_success "an unknown key is an error that names the nearest known one" '
	mkdir b && cp a/*.json b/ && printf "{\"cluster\":{\"replication_faktor_min\":2}}" >b/service.json &&
	test_must_fail service b config show 2>err &&
	grep -q "unknown key cluster.replication_faktor_min" err && grep -q "cluster.replication_factor_min" err
'
test_expect_success "a key of the incumbent without meaning here warns" '
	printf "{\"consensus\":{\"crdt\":{\"cluster_name\":\"x\"}}}" >b/service.json &&
	service b config show >out 2>err && grep -q "consensus.crdt" err
'
test_expect_success "an unknown variable warns" '
	CLUSTER_NOSUCHTHING=1 service a config show >out 2>err && grep -q CLUSTER_NOSUCHTHING err
'
test_expect_success "every fault is reported at once" '
	printf "{\"cluster\":{\"replication_factor_min\":\"x\",\"nope\":1}}" >b/service.json &&
	test_must_fail service b config show 2>err && grep -q replication_factor_min err && grep -q nope err
'
test_expect_success "daemon without a configuration says what to do" '
	test_must_fail service nothing daemon 2>err && grep -q "init" err
'
test_done
