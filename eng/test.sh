#!/usr/bin/env bash
# Builds and runs every test project; ends with "N passed, N failed, N skipped".
# Nothing is asked, and what cannot be installed in a few minutes is done without: its tests are skipped and say why.
set -uo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec </dev/null
trap 'exit 130' INT
export HOME=${HOME:-~} LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive # ~ is known where the environment has no HOME
results=artifacts/test-results
rm -rf "$results"
mkdir -p "$results"
command -v dotnet >/dev/null || { echo "dotnet is missing: install the .NET 10 SDK (https://dot.net)"; exit 1; }

# Runs apt-get, waiting for another program that holds the package manager's locks. Its log is in $results/apt.log.
patience=${FEDRLORA_APT_SECONDS:-180}
apt_get() {
  local said='' options=(-q -o DPkg::Lock::Timeout=5 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
  until timeout -k 5 600 apt-get "${options[@]}" "$@" >"$results/apt.log" 2>&1; do
    grep -Eq 'Could not get lock|Unable to (acquire|lock)' "$results/apt.log" && [ "$SECONDS" -lt "$patience" ] || return 1
    [ "$said" ] || echo "waiting for the package manager, at most $patience s: $(grep -m 1 ^E: "$results/apt.log")"
    said=yes
    sleep 2
  done
}

# Installs Debian packages where this runs as root.
install() {
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
  apt_get install -y --no-install-recommends "$@" || { apt_get update && apt_get install -y --no-install-recommends "$@"; } && return
  echo "$* could not be installed: $(grep -m 1 ^E: "$results/apt.log" || tail -n 1 "$results/apt.log")"
  return 1
}

# packages FOLDER WHAT: the npm packages of a folder under tests; without them WHAT is skipped.
packages() {
  local folder=tests/$1 modules=tests/$1/node_modules what=$2
  [ "$modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return
  rm -rf "$modules" # half of it would fail the tests instead of skipping them
  command -v npm >/dev/null || install nodejs npm || { echo "npm is missing: $what are skipped"; return; }
  mkdir -p "${HOME:-/}/.npm" 2>/dev/null || export npm_config_cache="$PWD/$results/npm-cache" # without a folder for it npm tries for ever
  timeout -k 5 600 npm ci --prefix "$folder" --loglevel error --fetch-retries 1 --fetch-timeout 60000 >"$results/npm.log" 2>&1 &&
    touch "$modules/.package-lock.json" && return
  rm -rf "$modules"
  echo "npm could not install the packages of $folder, $what are skipped: $(grep -m 1 . "$results/npm.log")"
}
packages azurite "the tests on Azurite"
packages helm "the tests of the chart"
packages openapi "the tests with tools for OpenAPI"
packages wall "the tests of the page in a browser"
command -v chromium >/dev/null || install chromium || echo "chromium is missing: the tests of the page in a browser are skipped"
# The dashboard that the OTLP test sends to, and the program that reads the pages of metrics.
timeout -k 5 300 dotnet restore tests/aspire -v quiet >"$results/aspire.log" 2>&1 ||
  echo "the Aspire dashboard could not be restored, its test is skipped: $(grep -m 1 . "$results/aspire.log")"
command -v promtool >/dev/null || install prometheus || echo "prometheus is missing: its test is skipped"
# The server of the cluster tests.
command -v redis-server >/dev/null || install redis-server || echo "redis-server is missing: the tests on Redis are skipped"

# one compiler for all projects: each of its own would be compiled itself again
dotnet build FedRLora.sln -c Release -v quiet -p:UseSharedCompilation=true
built=$?
dotnet build-server shutdown --vbcscompiler >"$results/build-server.log" 2>&1
[ "$built" = 0 ] || { echo "the build failed"; exit 1; }

# count WHAT FILE...: the sum over result files.
count() {
  local what=$1
  shift
  grep -ho "<Counters [^>]*" "$@" 2>/dev/null | grep -o " $what=\"[0-9]*\"" | grep -o '[0-9]*' | awk '{ n += $1 } END { print n + 0 }'
}
broken=0
for project in tests/*.Tests/*.csproj; do
  name=$(basename "$project" .csproj)
  dotnet test "$project" -c Release --no-build --nologo --logger "trx;LogFileName=$name.trx" --logger "console;verbosity=minimal" \
    --results-directory "$results" --blame-hang-timeout 15m --blame-hang-dump-type none "$@" && [ -s "$results/$name.trx" ] && continue
  [ "$(count failed "$results/$name.trx")" -gt 0 ] && continue
  echo "$name did not finish: it crashed or hung, see above; counted as one failure"
  broken=$((broken + 1))
done

total=$(count total "$results"/*.trx) passed=$(count passed "$results"/*.trx) failed=$(count failed "$results"/*.trx)
failures=$(awk '
  /<UnitTestResult .*outcome="Failed"/ { sub(/.* testName="/, ""); sub(/".*/, ""); print "  " $0; inside = 1; next }
  inside && /<Message>/ { sub(/.*<Message>/, ""); sub(/<\/Message>.*/, ""); print "      " $0; inside = 0 }
  /<\/UnitTestResult>/ { inside = 0 }' "$results"/*.trx 2>/dev/null)
[ "$failures" ] && printf 'failed:\n%s\n' "$failures"
reasons=$(grep -hs -A6 'outcome="NotExecuted"' "$results"/*.trx | grep -o '<Message>[^<]*' | sed 's/<Message>//' | sort | uniq -c)
[ "$reasons" ] && printf 'skipped, with the reason:\n%s\n' "$reasons"
[ "$passed" -gt 0 ] || echo "no test ran"
echo "$passed passed, $((failed + broken)) failed, $((total - passed - failed)) skipped"
[ "$((failed + broken))" -eq 0 ] && [ "$passed" -gt 0 ]
