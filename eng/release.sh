#!/usr/bin/env bash
# Makes the release archives in artifacts/release: the program with .NET's runtime, with libtorch for the CPU and without libtorch.
#   eng/release.sh          both;  LIBTORCH=cpu or none makes one
#   eng/release.sh name     prints the name of an archive, without its ending
#   eng/release.sh ensure   makes one unless it is there and of this commit; without a checkout of git, what is there
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
export LC_ALL=C TZ=UTC
version=$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
[ "$version" ] || { echo "CHANGELOG.md has no heading with a version" >&2; exit 2; }

# name VARIANT: an archive and the folder in it.
name() {
  case $1 in
    cpu) echo "fedrlora-$version-linux-x64" ;;
    none) echo "fedrlora-$version-linux-x64-no-libtorch" ;;
    *) echo "LIBTORCH=$1: expected cpu or none" >&2; return 2 ;;
  esac
}
if [ "${1:-}" = name ]; then
  name "${LIBTORCH:-cpu}"
  exit
fi
for variant in ${LIBTORCH:-cpu none}; do name "$variant" >/dev/null; done
release=artifacts/release
if [ "${1:-}" = ensure ]; then
  there=$release/$(name "${LIBTORCH:-cpu}").tar.gz
  if [ -s "$there" ]; then
    [ -e .git ] || exit 0
    [ -z "$(git status --porcelain)" ] && [ "$(cat "$there.commit" 2>/dev/null)" = "$(git rev-parse HEAD)" ] && exit 0
    echo "$there is not of this commit: it is made again"
  fi
fi

[ -e .git ] || { echo "a release is made from a checkout of git" >&2; exit 3; }
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
[ -z "$(git status --porcelain)" ] || echo "the working tree has changes: the archives are not those of the commit"
rm -rf "$release/build" "$release/tree"
mkdir -p "$release"


for variant in ${LIBTORCH:-cpu none}; do
  name=$(name "$variant")
  rm -f "$release/$name.tar.gz.commit"
  tree=$release/tree/$name
  libtorch=none
  [ "$variant" = none ] || libtorch=libtorch-cpu-linux-x64
  # Built apart from the folders of development, with paths that do not depend on where this is.
  dotnet publish src/Client -c Release -r linux-x64 --self-contained --artifacts-path "$release/build" -o "$release/build/$name" \
    -p:ContinuousIntegrationBuild=true -p:Libtorch=$libtorch -v quiet --nologo -nodeReuse:false -p:UseSharedCompilation=false
  mkdir -p "$tree"
  cp -R --no-preserve=mode,timestamps "$release/build/$name" "$tree/lib"
  rm -rf "$release/build/${name:?}"
  mv "$tree/lib/THIRD-PARTY-NOTICES.txt" "$tree/"
  install -m 755 eng/release-launcher.sh "$tree/fedrlora"
  git ls-files -- README.md CHANGELOG.md NOTICE 'LICENSE*' docs samples ':!samples/Generator' | tar -cf - -T - | tar -xf - -C "$tree"
  find "$tree" -type d -exec chmod 755 {} +
  find "$tree" -type f -exec chmod 644 {} +
  chmod 755 "$tree/fedrlora" "$tree/lib/fedrlora" "$tree/lib/createdump"
  # Sorted, without owners, with the time of the commit: the same tree gives the same bytes.
  tar -C "$release/tree" --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" |
    gzip -n -6 >"$release/$name.tar.gz"
  [ -n "$(git status --porcelain)" ] || git rev-parse HEAD >"$release/$name.tar.gz.commit"
done
(cd "$release" && sha256sum -- *.tar.gz >SHA256SUMS)
du -h --apparent-size "$release"/*.tar.gz
