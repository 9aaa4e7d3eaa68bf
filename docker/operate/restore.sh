#!/usr/bin/env bash
# Puts a backup back, on this machine or another one, and starts the service:
#
#   docker/operate/restore.sh FOLDER [--replace]
#
# The images have to be there (built, or loaded), and .env to be as it was: FOLDER/env. Nothing that
# is stored here is overwritten unless --replace says so; the service must be stopped.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "the folder of one backup" 1 1 --replace "$@"
REPLACE=no
for argument; do
  if [ "$argument" = --replace ]; then REPLACE=yes; else FOLDER=$argument; fi
done
[ -f "$FOLDER/volumes.tar" ] || fail "$FOLDER holds no backup: volumes.tar is missing"
FOLDER=$(realpath "$FOLDER")
has_engine

(cd "$FOLDER" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$FOLDER is damaged; nothing was changed"
for service in proxy app worker redis; do
  ! is_running "$service" || fail "$service runs; stop the service first: docker compose down"
done
if [ $REPLACE = no ] && docker volume inspect "$(project)_redis-data" >/dev/null 2>&1; then
  fail "there is data of this service here; say --replace to lose it"
fi
# Compose makes the volumes, so that they are its own.
$COMPOSE create --pull never >/dev/null 2>&1 || fail "docker compose create: are the images there?"
with_volumes rw -- sh -c 'find /backup -mindepth 2 -delete && tar --extract --numeric-owner --same-permissions --directory /backup' \
  <"$FOLDER/volumes.tar" || fail "the files could not be put back; nothing was started. Try again with --replace"
$COMPOSE up --detach --wait --no-build --pull never
resume # a backup that an upgrade made is one of drained workers
say "restored: the service runs with what $FOLDER held"
