#!/usr/bin/env bash
# Builds the image on a Debian base by the Containerfile, and by dotnet publish -t:PublishContainer; starts silos of it with a read-only
# root as the image's own user, in namespaces of their own, and runs a federation between two of them.
# Needs root, buildah, debootstrap, unshare, ip and curl; docker-registry for the second image. Without them it says so and passes.
#   eng/image-test.sh [containerfile] [publish]     both without a word
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "images are built by the superuser alone here"
for program in buildah debootstrap unshare ip curl; do command -v $program >/dev/null || skip "$program is not installed"; done
work=$PWD/artifacts/image base=$PWD/artifacts/debian-root test=$PWD/artifacts/image/test
eng/debian-root.sh "$base" || skip "Debian's package server gave no root"
mkdir -p "$work"
cat >"$work/policy.json" <<<'{"default": [{"type": "insecureAcceptAnything"}]}'
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
options="--root $work/storage --runroot $work/run"
# shellcheck disable=SC2086 # several options
images() { local command=$1; shift; buildah $options "$command" "$@"; }

started=()
# What runs in namespaces is asked to stop itself: unshare hears no SIGTERM, and ends with its child.
stop() {
  local process
  for process in "${started[@]}"; do
    kill $(ps -o pid= --ppid "$process") 2>/dev/null || kill "$process" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  started=()
}
finish() {
  stop
  images umount --all >/dev/null 2>&1 || true
  images rm --all >/dev/null 2>&1 || true
  rm -rf "$test"
}
trap finish EXIT

if ! images inspect --type image localhost/fedrlora-base:1 >/dev/null 2>&1; then
  container=$(images from scratch)
  images add --quiet "$container" "$base" / >/dev/null
  images commit --quiet --signature-policy "$work/policy.json" "$container" localhost/fedrlora-base:1 >/dev/null
  images rm "$container" >/dev/null
fi

# container IMAGE NAME WORD...: a command of the image's program as the image says it: its user, environment, folder and entry point;
# read-only but for /tmp and the volumes below /srv: jobs for all, store for itself, samples read-only.
running='' # or exec, for what is stopped by its process
container() {
  local root=$1 config=$2 name=$3
  shift 3
  mkdir -p "$test/$name/tmp" "$test/$name/store" "$test/jobs"
  chown 1654:1654 "$test/$name/tmp" "$test/$name/store" "$test/jobs"
  $running unshare --mount --pid --fork --kill-child sh -c '
    root=$1 config=$2 own=$3 jobs=$4 samples=$5
    shift 5
    . "$config"
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount --bind "$own/tmp" "$root/tmp"
    mount -t tmpfs tmpfs "$root/srv"
    mkdir "$root/srv/store" "$root/srv/jobs" "$root/srv/samples"
    mount --bind "$own/store" "$root/srv/store"
    mount --bind "$jobs" "$root/srv/jobs"
    mount --bind -o ro "$samples" "$root/srv/samples"
    mount -o remount,ro "$root/srv"
    mount -o remount,bind,ro "$root"
    if touch "$root/written" 2>/dev/null; then echo "the root can be written"; exit 1; fi
    exec chroot --userspec="$user" "$root" /usr/bin/env -i $environment sh -c "cd $folder && exec $entry \"\$@\"" sh "$@"' \
    sh "$root" "$config" "$test/$name" "$test/jobs" "$PWD/samples" "$@"
}

# check IMAGE: what the image says and holds, and two silos of it.
check() {
  local image=$1 mounted config=$test/config
  mkdir -p "$test"
  ofimage() { images inspect --type image --format "$1" "$image"; }
  {
    echo "user='$(ofimage '{{.OCIv1.Config.User}}')'"
    echo "folder='$(ofimage '{{.OCIv1.Config.WorkingDir}}')'"
    echo "entry='$(ofimage '{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}')'"
    echo "environment='$(ofimage '{{range .OCIv1.Config.Env}}{{.}} {{end}}')'"
  } >"$config"
  cat "$config"
  grep -q "^user='1654" "$config" || { echo "the image's user is not 1654"; exit 1; }
  mounted=$(images mount "$(images from --pull-never --signature-policy "$work/policy.json" "$image")")
  ! find "$mounted" -path "$mounted/proc" -prune -o \( -name sdk -o -name dotnet -o -name '*.csproj' \) -print | grep . ||
    { echo "the image holds parts of an SDK"; exit 1; }
  [ -s "$(find "$mounted/opt/fedrlora" -name THIRD-PARTY-NOTICES.txt)" ] || { echo "the image has no notices"; exit 1; }
  container "$mounted" "$config" tool doctor >"$test/doctor" 2>&1 || true # which also says where runs cannot be written
  grep -E '^(fedrlora|libtorch|system) ' "$test/doctor" && grep -q '^libtorch *[0-9]' "$test/doctor" || { cat "$test/doctor"; exit 1; }

  local begin=$SECONDS address=http://127.0.0.1:8470
  running=exec
  container "$mounted" "$config" north silo --site north --root /srv/samples --store /srv/jobs --site-store /srv/store >"$test/north.log" 2>&1 &
  started+=($!)
  for try in $(seq 60); do
    ready=$(curl -sS -o /dev/null -w '%{http_code}' $address/health/ready 2>/dev/null) && [ "$ready" = 200 ] && break
    [ "$try" -lt 60 ] || { echo "/health/ready does not answer"; tail -n 5 "$test/north.log"; exit 1; }
    sleep 0.5
  done
  echo "/health/ready answers 200 after $((SECONDS - begin)) s: $(curl -sS $address/health/ready)"
  container "$mounted" "$config" south silo --site south --join 11111 --root /srv/samples --store /srv/jobs --site-store /srv/store \
    >"$test/south.log" 2>&1 &
  started+=($!)
  running=''
  container "$mounted" "$config" north submit /srv/samples/demo.yaml --run image \
    --set strategy.rounds=2 --set training.steps=2 --set evaluation.everyRounds=2 --no-local-only
  container "$mounted" "$config" north watch image
  [ -d "$test/south/store/sites/south" ] || { echo "nothing is in the store of south"; exit 1; }
  begin=$SECONDS
  stop
  echo "SIGTERM ended both silos after $((SECONDS - begin)) s"
  [ $((SECONDS - begin)) -le 15 ] || exit 1
  rm -rf "$test"
}

if [ "${1:-}" = inside ]; then
  check "$2"
  exit
fi
# A network of its own for the silos, so that no port is taken.
inside() {
  unshare --net sh -c 'ip link set lo up && exec "$@"' sh eng/image-test.sh inside "$1"
  echo "passed: $2"
}
for part in ${*:-containerfile publish}; do
  case $part in
    containerfile)
      BASE=localhost/fedrlora-base:1 TAG=localhost/fedrlora:test ENGINE=buildah ENGINE_OPTIONS=$options \
        BUILD_OPTIONS="--pull-never --quiet --signature-policy $work/policy.json" eng/image.sh
      inside localhost/fedrlora:test "the image of the Containerfile"
      ;;
    publish)
      command -v docker-registry >/dev/null || skip "docker-registry is not installed, which PublishContainer asks for its base"
      port=${FEDRLORA_REGISTRY_PORT:-5055}
      cat >"$work/registry.yaml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
END
      docker-registry serve "$work/registry.yaml" >"$work/registry.log" 2>&1 &
      started+=($!)
      for try in $(seq 40); do
        curl -fsS "http://127.0.0.1:$port/v2/" >/dev/null 2>&1 && break
        [ "$try" -lt 40 ] || { echo "the registry does not answer: $(tail -n 1 "$work/registry.log")"; exit 1; }
        sleep 0.25
      done
      images push --quiet --tls-verify=false --signature-policy "$work/policy.json" localhost/fedrlora-base:1 \
        "docker://127.0.0.1:$port/base:1"
      rm -rf "$work/published.tar.gz"
      dotnet publish src/Client -c Release -r linux-x64 --self-contained --artifacts-path "$work/build" -t:PublishContainer \
        -p:ContainerBaseImage="localhost:$port/base:1" -p:ContainerArchiveOutputPath="$work/published.tar.gz" \
        -v quiet --nologo -nodeReuse:false -p:UseSharedCompilation=false
      stop
      # an OCI layout, whatever its name says
      images pull --quiet --signature-policy "$work/policy.json" "oci-archive:$work/published.tar.gz" >"$work/published.id"
      inside "$(tail -n 1 "$work/published.id")" "the image of PublishContainer"
      ;;
    *) echo "$part: expected containerfile or publish" >&2; exit 2 ;;
  esac
done
