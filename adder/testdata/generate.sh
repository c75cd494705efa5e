#!/bin/sh
# Writes golden.json: the CIDs that a real Kubo gives to the inputs of golden_test.go.
#
#   sh testdata/generate.sh [IPFS-BINARY]        in the folder adder
#
# The inputs are written by the test binary itself (GOLDEN_DIR), so that both sides
# add the same bytes. Kubo 0.42.0 runs offline in a repository of its own, with its
# default configuration.
set -eu
ipfs=$(readlink -f "${1:-../.bin/ipfs}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export IPFS_PATH="$dir/repo"
"$ipfs" version
"$ipfs" init --profile=test >/dev/null
GOLDEN_DIR="$dir/in" go test -count=1 -run '^TestGolden_WriteInputs$' .
{
	printf '[\n'
	sep=''
	# Each line: the input, then the arguments of ipfs add.
	while read -r input args; do
		case $input in '' | '#'*) continue ;; esac
		# The root is on the last line; -r and --hidden mean nothing for a file.
		# shellcheck disable=SC2086
		cid=$(cd "$dir/in" && "$ipfs" --offline add -Q -r --hidden --pin=false $args "$input")
		printf '%s  {"input": "%s", "args": "%s", "cid": "%s"}' "$sep" "$input" "$args" "$cid"
		sep=',
'
	done <testdata/cases.txt
	printf '\n]\n'
} >testdata/golden.json.new
mv testdata/golden.json.new testdata/golden.json
