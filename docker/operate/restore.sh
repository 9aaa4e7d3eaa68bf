#!/usr/bin/env bash
# Restores a backup, on this machine or another one, and starts the service:
#
#   docker/operate/restore.sh FOLDER [--replace]
#
# The images must exist (built or loaded), and .env must be as it was; FOLDER/env is a copy. The service
# must be stopped. Stored data is overwritten only with --replace.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "the folder of one backup" 1 1 --replace "$@"
REPLACE=no
for argument; do
  if [ "$argument" = --replace ]; then REPLACE=yes; else FOLDER=$argument; fi
done
[ -f "$FOLDER/volumes.tar" ] || fail "$FOLDER is not a backup: volumes.tar is missing"
FOLDER=$(realpath "$FOLDER")
has_engine

(cd "$FOLDER" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$FOLDER is damaged; nothing was changed"
for service in proxy app worker redis; do
  ! is_running "$service" || fail "$service runs; stop the service first: docker compose down"
done
if [ $REPLACE = no ] && docker volume inspect "$(project)_redis-data" >/dev/null 2>&1; then
  fail "this service already has data here; to overwrite it, add --replace"
fi
# Compose creates the volumes, so that it owns them.
$COMPOSE create --pull never >/dev/null 2>&1 || fail "docker compose create failed; check that the images exist"
with_volumes rw -- sh -c 'find /backup -mindepth 2 -delete && tar --extract --numeric-owner --same-permissions --directory /backup' \
  <"$FOLDER/volumes.tar" || fail "the files could not be restored; nothing was started. Try again with --replace"
$COMPOSE up --detach --wait --no-build --pull never
resume # workers were drained when an upgrade made the backup
say "restored: the service runs with the data of $FOLDER"
