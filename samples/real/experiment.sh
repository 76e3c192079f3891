#!/usr/bin/env bash
# Runs the arms of a federation on a real model, three seeds of each, one run after another; the same command again goes on after a stop.
#   samples/real/experiment.sh skew|tasks|mixed [ROWS]     ROWS of a client, 50 or 200
# SEEDS=1 and ARMS="lora local" run a part. README.md beside this file says how to get the model and the rows.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
federation=${1:-} rows=${2:-50} seeds=${SEEDS:-1,2,3}
case $federation in
  skew) clients=4 task=trec test=', test: data/trec-test.jsonl' ;;
  tasks) clients=4 task=all test='' ;;
  mixed) clients=8 task=all test='' ;;
  *) sed -n '2,4s/^# *//p' "$0" >&2; exit 2 ;;
esac
case $rows in
  50) steps=6 ;;
  200) steps=12 ;;
  *) echo "ROWS is 50 or 200, not $rows" >&2; exit 2 ;;
esac
for needed in model data; do
  [ -e "samples/real/$needed" ] || { echo "samples/real/$needed is missing: samples/real/README.md says how to make it" >&2; exit 2; }
done

# The same number of rows goes through the model for one client with everybody's rows as for all clients together.
all="clients: [{id: together, task: $task, site: together, data: {train: data/$federation/together.jsonl$test, rows: $((clients * rows))}}]"
declare -A arm=(
  [local]='{adapter.method: lora, sharing: none}'
  [lora]='{adapter.method: lora}'
  [ffa-lora]='{adapter.method: ffa-lora}'
  [fedsa-lora]='{adapter.method: fedsa-lora}'
  [fedsa-lora-task-heads]='{adapter.method: fedsa-lora-task-heads}'
  [r-lora-task-heads]='{adapter.method: r-lora-federated-task-heads}'
  [together]="{adapter.method: lora, training.steps: $((clients * steps)), $all}"
)
options=(--seeds "$seeds" --out "runs/real-$federation-$rows" --set "training.steps=$steps")
for ((client = 0; client < clients; client++)); do options+=(--set "clients[$client].data.rows=$rows"); done
for name in ${ARMS:-local lora ffa-lora fedsa-lora fedsa-lora-task-heads r-lora-task-heads together}; do
  [ "${arm[$name]:-}" ] || { echo "ARMS: $name is none of ${!arm[*]}" >&2; exit 2; }
  options+=(--arm "$name=${arm[$name]}")
done
./fedrlora sweep "samples/real/$federation.yaml" "${options[@]}"

# A client has one file of test rows, so the one that trains on several tasks is scored by itself, on the rows that others are scored on.
[ "$task" = all ] || exit 0
for run in "runs/real-$federation-$rows"/together_*; do
  [ -d "$run" ] || continue
  for tested in trec sst2 ag_news cola; do
    scored=$run/score-$tested.json
    [ -s "$scored" ] || ./fedrlora eval --model samples/real/model --adapter "$run/adapters/together" \
      --data "samples/real/data/$tested-test.jsonl" --rows 200 --max-tokens 192 --json >"$scored.part"
    [ -s "$scored" ] || mv "$scored.part" "$scored"
    echo "$run $tested $(cat "$scored")"
  done
done
