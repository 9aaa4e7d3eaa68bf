#!/usr/bin/env bash
# Puts a backup back, on this machine or another one, and starts the service:
#
#   docker/operate/restore.sh FOLDER [--replace]
#
# The images have to be there (built, or loaded), and .env to be as it was: FOLDER/env. Nothing that
# is stored here is overwritten unless --replace says so; the service must be stopped.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac
[ -f "$1/volumes.tar" ] || fail "$1 holds no backup: volumes.tar is missing"
FOLDER=$(realpath "$1")

(cd "$FOLDER" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$FOLDER is damaged; nothing was changed"
for service in proxy app worker redis; do
  ! is_running "$service" || fail "$service runs; stop the service first: docker compose down"
done
name=$(project)
if [ "${2:-}" != --replace ] && docker volume ls --quiet | grep -qxF "${name}_redis-data"; then
  fail "there is data of this service here; say --replace to lose it"
fi
# Compose makes the volumes, so that they are its own.
$COMPOSE create --pull never >/dev/null 2>&1 || fail "docker compose create: are the images there?"
with_volumes rw -- sh -c 'find /backup -mindepth 2 -delete && tar --extract --numeric-owner --same-permissions --directory /backup' \
  <"$FOLDER/volumes.tar"
$COMPOSE up --detach --wait --no-build --pull never
resume # a backup that an upgrade made is one of drained workers
say "restored: the service runs with what $FOLDER held"
