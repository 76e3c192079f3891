#!/usr/bin/env bash
# Unpacks the release archive into a root of Debian that has no .NET and no network, and runs the demo there as a user without a name.
# Needs root, debootstrap and unshare, and Debian's package server the first time; without them it says so and passes. Some minutes.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "a root of Debian is made by the superuser alone"
for program in debootstrap unshare; do command -v $program >/dev/null || skip "$program is not installed"; done
release=$PWD/artifacts/release
name=$(LIBTORCH=cpu eng/release.sh name)
LIBTORCH=cpu eng/release.sh ensure
(cd "$release" && sha256sum --check --ignore-missing --quiet SHA256SUMS)

base=$PWD/artifacts/debian-root root=$release/root
eng/debian-root.sh "$base" || skip "Debian's package server gave no root"
found=$(find "$base" -name 'dotnet*' -o -name 'libcoreclr.so' | head -n 1)
[ -z "$found" ] || { echo "the root is not free of .NET: $found"; exit 1; }
trap 'rm -rf "$root"' EXIT
rm -rf "$root"
cp -a "$base" "$root"
tar -xzf "$release/$name.tar.gz" -C "$root/opt"
mkdir -p "$root/usr/local/bin" && ln -s "/opt/$name/fedrlora" "$root/usr/local/bin/fedrlora"

# inside COMMAND...: in the root, with its own mounts, processes and network; all of it ends with the command.
inside() {
  unshare --mount --pid --fork --net --mount-proc="$root/proc" sh -c '
    ip link set lo up 2>/dev/null
    mknod -m 666 "$0/dev/null" c 1 3 2>/dev/null; mknod -m 666 "$0/dev/urandom" c 1 9 2>/dev/null
    exec chroot --userspec=1654:1654 "$0" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp sh -c "cd /tmp && exec \"\$@\"" sh "$@"' "$root" "$@"
}
inside fedrlora doctor
begin=$SECONDS
inside fedrlora simulate "/opt/$name/samples/demo.yaml" --out demo
echo "the demo took $((SECONDS - begin)) s"
inside fedrlora verify demo
for file in report.html metrics.csv adapters/topic-few/adapter_model.safetensors; do
  [ -s "$root/tmp/demo/$file" ] || { echo "the run has no $file"; exit 1; }
done
echo "passed: $name.tar.gz, $(du -h --apparent-size "$release/$name.tar.gz" | cut -f 1), $(du -sh "$root/opt/$name" | cut -f 1) unpacked"
