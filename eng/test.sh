#!/usr/bin/env bash
# Builds and runs every test project; ends with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."
results=artifacts/test-results
rm -rf "$results"
mkdir -p "$results"

# The blob server of the store tests; without it they are skipped, saying why.
azurite() {
  local folder=tests/azurite
  [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return
  if ! command -v npm >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get install -qq -y --no-install-recommends nodejs npm >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y --no-install-recommends nodejs npm; } >/dev/null 2>&1
  fi
  command -v npm >/dev/null || { echo "npm is missing: the tests on Azurite are skipped"; return; }
  npm ci --prefix "$folder" --loglevel error >"$results/npm.log" 2>&1 && touch "$folder/node_modules/.package-lock.json" && return
  rm -rf "$folder/node_modules" # half of it would fail the tests instead of skipping them
  echo "npm could not install Azurite, its tests are skipped: $(grep -m 1 . "$results/npm.log")"
}
azurite
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
