#!/usr/bin/env bash
# Writes a backup of a running or stopped deployment into a new folder:
#
#   docker/operate/backup.sh FOLDER
#
# The folder is one that promptsmooth backup --secret makes: jobs, images and certificates (Redis), the
# key secret, API keys and the audit log. Beside it are .env and, in containers.tar, the passwords and
# certificates of the containers. Redis runs meanwhile. Whoever has the folder has the secrets, so keep
# it encrypted.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "one folder" 1 1 "" "$@"
FOLDER=$1
is_new "$FOLDER"
has_engine
docker volume inspect "$(project)_redis-data" >/dev/null 2>&1 || fail "there is nothing to back up, because the service was never started here"

mkdir -p "$(dirname "$FOLDER")"
PART=$(mktemp -d "$FOLDER.XXXXXX") # 0700; renamed once it is complete
STARTED=no
tidy() {
  [ $STARTED = no ] || $COMPOSE stop redis >/dev/null 2>&1 || say "backup.sh: docker compose stop redis failed" >&2
  STARTED=no
}
trap 'tidy; rm -rf "$PART"' EXIT

if ! is_running redis; then
  STARTED=yes
  start_redis
fi
beside_redis --volume "$PART:/into" -- sh -c \
  'promptsmooth backup /into --secret && chown -R "$0" /into' "$(id -u):$(id -g)" || fail "nothing was backed up"
tidy
(umask 077; with_volumes ro -- tar --create --numeric-owner --directory /backup "${OF_CONTAINERS[@]}" >"$PART/containers.tar")
[ ! -f .env ] || install -m 0600 .env "$PART/env"
$COMPOSE images --format json >"$PART/images.json"
SUMS=$(cd "$PART" && find . -type f -exec sha256sum -- {} +)
say "$SUMS" >"$PART/SHA256SUMS"
mv -T "$PART" "$FOLDER"
say "backup: $(realpath "$FOLDER"), $(du -sh "$FOLDER" | cut -f1); it holds secrets, so keep it encrypted"
