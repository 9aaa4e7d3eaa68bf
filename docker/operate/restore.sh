#!/usr/bin/env bash
# Restores a backup, on this machine or another one, and starts the service:
#
#   docker/operate/restore.sh FOLDER [--replace]
#
# FOLDER is one that backup.sh made, or promptsmooth backup --secret. The images must exist (built or
# loaded), and .env must be as it was; FOLDER/env is a copy. The service must be stopped. Stored data is
# overwritten only with --replace.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "the folder of one backup" 1 1 --replace "$@"
REPLACE=no
for argument; do
  if [ "$argument" = --replace ]; then REPLACE=yes; else FOLDER=$argument; fi
done
[ ! -f "$FOLDER/volumes.tar" ] || fail "$FOLDER is of an earlier release: restore it with that release, then upgrade"
[ -f "$FOLDER/manifest.json" ] || fail "$FOLDER is not a backup: manifest.json is missing"
FOLDER=$(realpath "$FOLDER")
has_engine

if [ -f "$FOLDER/SHA256SUMS" ]; then
  (cd "$FOLDER" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$FOLDER is damaged; nothing was changed"
fi
for service in proxy app worker redis; do
  ! is_running "$service" || fail "$service runs; stop the service first: docker compose down"
done
if [ $REPLACE = no ] && docker volume inspect "$(project)_redis-data" >/dev/null 2>&1; then
  fail "this service already has data here; to overwrite it, add --replace"
fi
again() { fail "$1; the service was not started. Try again with --replace"; }
# Compose creates the volumes, so that it owns them.
$COMPOSE create --pull never >/dev/null 2>&1 || fail "docker compose create failed; check that the images exist"
with_volumes rw -- find /backup -mindepth 2 -delete || again "the old files could not be removed"
if [ -f "$FOLDER/containers.tar" ]; then
  with_volumes rw -- tar --extract --numeric-owner --same-permissions --directory /backup \
    <"$FOLDER/containers.tar" || again "the files could not be restored"
fi
start_redis # after prepare, which has made a file without keys: restore leaves keys alone that are there
beside_redis --volume "$FOLDER:/from:ro" -- sh -c \
  'rm -f /backup/app-data/keys.toml && promptsmooth restore /from && chown -R 10001:10001 /backup/app-data /backup/worker-data /backup/audit-log' ||
  again "Redis could not be restored"
$COMPOSE up --detach --wait --no-build --pull never
resume # in case workers were drained
say "restored: the service runs with the data of $FOLDER"
