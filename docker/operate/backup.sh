#!/usr/bin/env bash
# Writes a backup of a running or stopped deployment into a new folder:
#
#   docker/operate/backup.sh FOLDER
#
# The backup holds jobs, images and certificates (Redis), the key secret, API keys, passwords and the
# audit log. Redis is paused for about a second while its files are copied. The copy is what a power
# cut would leave, and every accepted job is on disk. Whoever has the folder has the secrets, so keep
# it encrypted.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "one folder" 1 1 "" "$@"
FOLDER=$1
is_new "$FOLDER"
has_engine
docker volume inspect "$(project)_redis-data" >/dev/null 2>&1 || fail "there is nothing to back up, because the service was never started here"

mkdir -p "$(dirname "$FOLDER")"
PART=$(mktemp -d "$FOLDER.XXXXXX") # 0700; renamed once it is complete
PAUSED=no
tidy() {
  [ $PAUSED = no ] || $COMPOSE unpause redis >/dev/null 2>&1 || say "backup.sh: docker compose unpause redis failed" >&2
  PAUSED=no
}
trap 'tidy; rm -rf "$PART"' EXIT

if is_running redis; then
  PAUSED=yes
  $COMPOSE pause redis >/dev/null 2>&1 || fail "Redis cannot be paused; nothing was copied"
fi
(umask 077; with_volumes ro -- tar --create --numeric-owner --directory /backup "${VOLUMES[@]}" >"$PART/volumes.tar")
tidy
[ ! -f .env ] || install -m 0600 .env "$PART/env"
$COMPOSE images --format json >"$PART/images.json"
(cd "$PART" && sha256sum -- * >SHA256SUMS)
mv -T "$PART" "$FOLDER"
say "backup: $(realpath "$FOLDER"), $(du -sh "$FOLDER" | cut -f1); it holds secrets, so keep it encrypted"
