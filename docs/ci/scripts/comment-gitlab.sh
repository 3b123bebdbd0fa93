#!/bin/sh
# comment-gitlab.sh FILE: puts FILE as a note on a merge request, in the place of the one before.
# FILE begins with a marker, as `vtplan plan --format markdown` prints it.
#   VTPLAN_GITLAB_TOKEN  a project access token with the scope `api`; CI_JOB_TOKEN may not write notes
#   VTPLAN_GITLAB_USER   whose notes are replaced: the token's user
# The rest (CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID) GitLab sets.
set -eu
file=$1
marker=$(head -n 1 "$file")
case $marker in
  '<!-- vtplan-plan'*' -->') ;;
  *)
    echo "$file does not begin with a marker of vtplan" >&2
    exit 1
    ;;
esac
notes=$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes
# From a configuration on stdin, not from arguments, which other processes see.
call() {
  printf 'header = "PRIVATE-TOKEN: %s"\n' "$VTPLAN_GITLAB_TOKEN" |
    curl --fail --silent --show-error --config - "$@"
}
page=1
id=
while [ -z "$id" ]; do
  found=$(call "$notes?per_page=100&page=$page")
  id=$(printf '%s\n' "$found" |
    jq -r --arg marker "$marker" --arg user "$VTPLAN_GITLAB_USER" '
      .[] | select(.author.username == $user)
          | select(.body | split("\n")[0] | rtrimstr("\r") == $marker)
          | .id' | head -n 1)
  [ "$(printf '%s\n' "$found" | jq length)" -eq 100 ] || break
  page=$((page + 1))
done
if [ -n "$id" ]; then
  call --request PUT --data-urlencode "body@$file" "$notes/$id" >/dev/null
else
  call --request POST --data-urlencode "body@$file" "$notes" >/dev/null
fi
