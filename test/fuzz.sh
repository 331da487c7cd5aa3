#!/bin/bash
# Runs each fuzz target in turn, and prints what it did: test/fuzz.sh [TIME [REGEXP]]. Finds the targets itself.
# TIME is that of a target (30s), REGEXP chooses targets by folder and name (partitions/history.FuzzCommit).
# An input that fails is saved in testdata/fuzz beside the target, where go test repeats it. Ends with 1 if there is one.
set -u
cd "$(dirname "$0")/.." || exit
time=${1:-30s} choose=${2:-.}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
count=0
printf '%-55s %12s %10s  %s\n' TARGET EXECUTIONS CORPUS FINDS
while IFS=: read -r file name; do
	dir=$(dirname "$file")
	grep -qE -e "$choose" <<<"$dir.$name" || continue
	count=$((count + 1))
	# Minimizing a find takes longer than finding it, unless it is limited.
	if "${GO:-go}" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 20x "./$dir" >"$log" 2>&1; then
		finds=none
	elif grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic' "$log"; then
		finds=none # the time ended in the middle of an input
	else
		status=1
		finds=$(sed -n 's|.*Failing input written to ||p' "$log" | tail -1)
		finds=${finds:-failed}
	fi
	executions=$(grep -oE 'execs: [0-9]+' "$log" | tail -1)
	corpus=$(grep -oE 'total: [0-9]+' "$log" | tail -1)
	printf '%-55s %12s %10s  %s\n' "$dir.$name" "${executions#execs: }" "${corpus#total: }" "$finds"
	[ "$finds" = none ] || sed 's/^/    /' "$log" | grep -v 'fuzz: elapsed' | cut -c1-300 | head -30
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //' | sort)
if [ "$count" = 0 ]; then
	echo "no target matches $choose" >&2
	exit 2
fi
exit "$status"
