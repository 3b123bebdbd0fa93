#!/bin/sh
# drift.sh SPEC OUT: writes the drift of SPEC's cluster as Markdown into OUT, which is empty when there is none.
# Exit code 0: it was looked for; 1: it could not be, or not everywhere.
set -eu
spec=$1 out=$2
code=0
vtplan drift "$spec" --format markdown >"$out" || code=$?
case $code in
  0) : >"$out" ;;
  2) ;;
  *)
    cat "$out" >&2
    exit 1
    ;;
esac
