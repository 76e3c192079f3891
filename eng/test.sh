#!/usr/bin/env bash
# Builds and runs every test project; ends with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."
results=artifacts/test-results
rm -rf "$results"
mkdir -p "$results"

# The server of the cluster tests; where it cannot be had they are skipped and say so.
if ! command -v redis-server >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server; } >/dev/null || echo "redis-server could not be installed"
fi

dotnet build FedRLora.sln -c Release -v quiet || { echo "the build failed"; exit 1; }
status=0
for project in tests/*.Tests/*.csproj; do
  name=$(basename "$project" .csproj)
  dotnet test "$project" -c Release --no-build --nologo --logger "trx;LogFileName=$name.trx" --logger "console;verbosity=minimal" --results-directory "$results" "$@" || status=1
  [ -s "$results/$name.trx" ] || { echo "$name left no result file"; status=1; }
done

count() { grep -ho "<Counters [^>]*" "$results"/*.trx | grep -o " $1=\"[0-9]*\"" | grep -o '[0-9]*' | awk '{ n += $1 } END { print n + 0 }'; }
total=$(count total) passed=$(count passed) failed=$(count failed)
grep -ho 'outcome="NotExecuted"' "$results"/*.trx >/dev/null && reasons=$(grep -h -A6 'outcome="NotExecuted"' "$results"/*.trx | grep -o '<Message>[^<]*' | sed 's/<Message>//' | sort | uniq -c) && printf 'skipped, with the reason:\n%s\n' "$reasons"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] || status=1
echo "$passed passed, $failed failed, $((total - passed - failed)) skipped"
exit $status
