#!/usr/bin/env bash
# Builds the image fedrlora:VERSION by deploy/image/Containerfile.
#   BASE=IMAGE eng/image.sh      ENGINE (podman, buildah or docker) with ENGINE_OPTIONS; LIBTORCH=cpu (default), none
# The argument "context" only prepares the folder that it is built from, for other tools.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
variant=${LIBTORCH:-cpu}
name=$(LIBTORCH=$variant eng/release.sh name)
context=artifacts/image/context
LIBTORCH=$variant eng/release.sh ensure
rm -rf "$context"
mkdir -p "$context/fedrlora"
tar -xzf "artifacts/release/$name.tar.gz" -C "$context/fedrlora" --strip-components=1 \
  --exclude="$name/samples" --exclude="$name/docs" --exclude="$name/*.md"
[ "${1:-}" != context ] || exit 0

[ "${BASE:-}" ] || { echo "BASE=IMAGE is required: an image with libssl3, libstdc++6, ca-certificates and tzdata (docs/releases.md)" >&2; exit 2; }
engine=${ENGINE:-$(command -v podman || command -v buildah || command -v docker || true)}
[ "$engine" ] || { echo "podman, buildah or docker is needed (ENGINE)" >&2; exit 3; }
version=${name#fedrlora-} version=${version%%-linux-x64*}
# shellcheck disable=SC2086 # several options
"$engine" ${ENGINE_OPTIONS:-} build ${BUILD_OPTIONS:-} --build-arg "BASE=$BASE" --build-arg "VERSION=$version" \
  -f deploy/image/Containerfile -t "${TAG:-fedrlora:$version}" "$context"
