#!/bin/sh
# comment-github.sh FILE: puts FILE as a comment on a pull request, in the place of the one before.
# FILE begins with a marker, as `vtplan plan --format markdown` prints it.
#   GH_TOKEN        a token that may write comments (gh reads it)
#   REPOSITORY      owner/name
#   PULL_REQUEST    its number
#   COMMENT_AUTHOR  whose comments are replaced; github-actions[bot] if it is not set
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
id=$(gh api --paginate "repos/$REPOSITORY/issues/$PULL_REQUEST/comments?per_page=100" |
  jq -r --arg marker "$marker" --arg author "${COMMENT_AUTHOR:-github-actions[bot]}" '
    .[] | select(.user.login == $author)
        | select(.body | split("\n")[0] | rtrimstr("\r") == $marker)
        | .id' | head -n 1)
if [ -n "$id" ]; then
  gh api --method PATCH "repos/$REPOSITORY/issues/comments/$id" --field "body=@$file" >/dev/null
else
  gh api --method POST "repos/$REPOSITORY/issues/$PULL_REQUEST/comments" --field "body=@$file" >/dev/null
fi
