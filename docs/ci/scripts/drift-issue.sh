#!/bin/sh
# drift-issue.sh FILE: opens an issue with the drift in FILE, or rewrites the one that is open. An empty FILE closes it.
#   GH_TOKEN    a token that may write issues (gh reads it)
#   REPOSITORY  owner/name
# The issue is known by the label vtplan-drift, which has to exist.
set -eu
file=$1
label=vtplan-drift
number=$(gh issue list --repo "$REPOSITORY" --label "$label" --state open --limit 1 --json number |
  jq -r '.[].number')
if [ ! -s "$file" ]; then
  [ -z "$number" ] || gh issue close "$number" --repo "$REPOSITORY" --comment "No drift any more."
elif [ -n "$number" ]; then
  gh issue edit "$number" --repo "$REPOSITORY" --body-file "$file"
else
  gh issue create --repo "$REPOSITORY" --label "$label" --title "The cluster has left its spec" --body-file "$file"
fi
