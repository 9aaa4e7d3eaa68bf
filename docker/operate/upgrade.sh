#!/usr/bin/env bash
# Swaps a running service for the release in this folder, whose images are built or loaded:
#
#   docker/operate/upgrade.sh BACKUP_FOLDER
#
# Drain (nothing new is taken, what runs may end), back up, swap, resume. Jobs that wait stay in the
# queue; one still under way goes on from its stored counts. To go back: docker compose down, the
# earlier release's files and images, docker/operate/restore.sh BACKUP_FOLDER --replace.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac

$COMPOSE config --quiet
for image in $($COMPOSE config --images | sort -u); do
  docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image is not here: build or load it first"
done
is_running worker || fail "the service does not run; docker compose up --detach starts it"

trap 'say "upgrade.sh: not upgraded; the workers that run go on"; resume || true' ERR
say "drain"
drain
say "back up"
docker/operate/backup.sh "$1"
say "swap"
$COMPOSE up --detach --wait --no-build --pull never --remove-orphans
say "resume"
resume
say "upgraded to $($COMPOSE exec -T app python -c 'from importlib.metadata import version; print(version("promptsmooth-service"))')"
