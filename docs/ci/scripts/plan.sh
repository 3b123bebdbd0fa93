#!/bin/sh
# plan.sh SPEC AGAINST MARKER OUT: writes what a change of SPEC would do, as Markdown for a comment, into OUT.
#   AGAINST  the spec of the main branch, or an export of the live state (`vtplan export --live`)
#   MARKER   names the comment among others, such as the cluster's name
# OUT is written whether there is a plan or not. Exit code 0: there is one, or nothing changes; 1: there is none.
set -eu
spec=$1 against=$2 marker=$3 out=$4
if [ ! -e "$against" ]; then
  # The first spec of a repository has nothing to be compared with.
  vtplan validate "$spec" >&2
  printf '<!-- vtplan-plan %s -->\n\nThere is nothing at `%s` to compare `%s` with. The spec is valid.\n' \
    "$marker" "$against" "$spec" >"$out"
  exit 0
fi
vtplan plan "$spec" --against "$against" --format markdown --marker "$marker" >"$out"
