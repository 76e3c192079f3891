#!/usr/bin/env bash
# Whether a machine's PyTorch and its GPU compute what FedRLora needs, in under five minutes and without .NET on that machine.
#   eng/gpu-check.sh pack                 here, with the SDK: makes artifacts/gpu-check, which holds all that the other needs
#   artifacts/gpu-check/gpu-check.sh      there: [--device cuda:0|cpu] [--libtorch FOLDER] [--python python3]
# Without --libtorch, the library is that of the Python's torch. Ends with 0 where every line of the table is right.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")"

pack() {
  cd ..
  local target=artifacts/gpu-check most=$((60 * 1024)) size
  rm -rf "$target"
  mkdir -p "$target"
  # The program with .NET's runtime and TorchSharp's own library; libtorch is the other machine's.
  dotnet publish tests/Benchmarks -c Release -r linux-x64 --self-contained --artifacts-path artifacts/gpu-check-build -o "$target/lib" \
    -p:Libtorch=none -p:DebugType=none -p:GenerateDocumentationFile=false -v quiet --nologo -nodeReuse:false -p:UseSharedCompilation=false
  cp eng/gpu-check.sh tests/Benchmarks/peft_step.py "$target/"
  mkdir -p "$target/samples/tasks"
  cp -R samples/model "$target/samples/"
  cp -R samples/tasks/topic "$target/samples/tasks/"
  tar -C artifacts -cJf artifacts/gpu-check.tar.xz gpu-check
  size=$(($(stat -c %s artifacts/gpu-check.tar.xz) / 1024))
  echo "artifacts/gpu-check.tar.xz: $size KiB"
  [ "$size" -lt "$most" ] || { echo "that is more than $most KiB" >&2; exit 1; }
}
if [ "${1:-}" = pack ]; then
  pack
  exit
fi

device=cuda:0 libtorch='' python=python3
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || { echo "$1: has no value" >&2; exit 2; }
  case $1 in
    --device) device=$2 ;;
    --libtorch) libtorch=$2 ;;
    --python) python=$2 ;;
    *) sed -n '2,5s/^# *//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
[ -x lib/FedRLora.Benchmarks ] || { echo "$PWD/lib/FedRLora.Benchmarks is missing: make the folder with eng/gpu-check.sh pack" >&2; exit 3; }
if [ -z "$libtorch" ]; then
  libtorch=$("$python" -c 'import torch; print(torch.__path__[0])' 2>/dev/null) ||
    { echo "$python has no torch: give --python, or --libtorch FOLDER" >&2; exit 3; }
fi
export FEDRLORA_LIBTORCH=$libtorch
echo "libtorch: $libtorch"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv,noheader || true
fi
code=0
timeout 150 lib/FedRLora.Benchmarks device "$device" samples || code=$?
if [ "$code" = 0 ]; then
  echo
  echo "a step of ours and the same one by libtorch's operations, eager"
  timeout 60 lib/FedRLora.Benchmarks training steps --device "$device" --threads 1 --runs 5 || code=$?
  if "$python" -c 'import torch' 2>/dev/null; then
    echo
    echo "the same step by $python"
    timeout 60 "$python" peft_step.py --device "$device" --threads 1 --runs 5 --plain || code=$?
  fi
  # Where NVIDIA's profiler is there, it counts how often the host waited for the device.
  if [ "$device" != cpu ] && command -v nsys >/dev/null; then
    echo
    echo "waits of the host"
    trace=$(mktemp -d)
    if timeout 120 nsys profile --trace=cuda --force-overwrite=true -o "$trace/steps" \
      lib/FedRLora.Benchmarks device "$device" samples >"$trace/output" 2>&1; then
      nsys stats --report cuda_api_sum --format csv "$trace/steps.nsys-rep" >"$trace/calls" 2>&1 || true
      grep -i synchron "$trace/calls" || echo "none in the checks above"
    else
      cat "$trace/output"
    fi
    rm -rf "$trace"
  fi
fi
[ "$code" = 0 ] && echo "gpu-check: all right on $device" || echo "gpu-check: NOT right on $device ($code)"
exit "$code"
