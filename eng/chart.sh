#!/usr/bin/env bash
# Renders the kustomize bases of deploy/k8s from the chart. chart.sh FOLDER puts them there, for a test that compares; without it they
# take their place, and the chart gets its copies of the rules and dashboards of deploy/telemetry.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
[ -d tests/helm/node_modules ] || npm ci --prefix tests/helm --loglevel error
helm=$(node tests/helm/unpack.mjs)/helm
charts=deploy/k8s
if [ $# -eq 0 ]; then
  cp deploy/telemetry/prometheus/{recording,alerts}.yml deploy/telemetry/grafana/*.json "$charts/fedrlora/files/"
fi
for role in hub site; do
  folder=${1:-$charts}/base-$role
  mkdir -p "$folder"
  {
    echo "# Rendered from ../fedrlora with values.yaml by make chart: change those."
    "$helm" template fedrlora "$charts/fedrlora" --values "$charts/base-$role/values.yaml"
  } >"$folder/fedrlora.yaml.new"
  mv "$folder/fedrlora.yaml.new" "$folder/fedrlora.yaml"
done
