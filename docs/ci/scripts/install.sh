#!/bin/sh
# install.sh FOLDER: puts vtplan into a folder, from where you keep your build of it.
#   VTPLAN_URL     where to fetch it
#   VTPLAN_SHA256  what it has to be
# Where VTPLAN_URL is empty, vtplan has to be on PATH already (in the runner's image).
set -eu
folder=$1
if [ -z "${VTPLAN_URL:-}" ]; then
  command -v vtplan >/dev/null || {
    echo "set VTPLAN_URL and VTPLAN_SHA256, or put vtplan into the runner's image" >&2
    exit 1
  }
  exit 0
fi
mkdir -p "$folder"
curl --fail --silent --show-error --location --output "$folder/vtplan.part" "$VTPLAN_URL"
echo "${VTPLAN_SHA256:?set it to the checksum of the file}  $folder/vtplan.part" | sha256sum --check --quiet
chmod 755 "$folder/vtplan.part"
mv "$folder/vtplan.part" "$folder/vtplan"
