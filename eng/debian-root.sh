#!/usr/bin/env bash
# debian-root.sh FOLDER: a root of Debian without .NET, with what the program needs of a system. It is kept and used again.
# Needs root and debootstrap; FEDRLORA_DEBIAN_SUITE and FEDRLORA_DEBIAN_MIRROR say which and from where.
set -euo pipefail
root=$1
[ ! -e "$root/.complete" ] || exit 0
suite=${FEDRLORA_DEBIAN_SUITE:-bookworm}
rm -rf "$root"
mkdir -p "$(dirname "$root")"
debootstrap --variant=minbase --include=libssl3,libstdc++6,zlib1g,ca-certificates,tzdata "$suite" "$root" \
  ${FEDRLORA_DEBIAN_MIRROR:+"$FEDRLORA_DEBIAN_MIRROR"} >"$root.log" 2>&1 || { tail -n 3 "$root.log" >&2; exit 3; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/dev/* "$root"/usr/share/{doc,man,locale}
touch "$root/.complete"
