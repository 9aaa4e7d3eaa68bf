#!/usr/bin/env bash
# Upgrades a running service to the release in this folder, whose images are built or loaded:
#
#   docker/operate/upgrade.sh BACKUP_FOLDER
#
# The steps are: drain (workers take no new jobs, requests wait), back up, swap, resume. A running job
# continues from its stored counts. To go back: docker compose down, bring back the earlier release's
# files and images, then docker/operate/restore.sh BACKUP_FOLDER --replace.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "one folder for the backup" 1 1 "" "$@"
is_new "$1"
has_engine
$COMPOSE config --quiet
for image in $($COMPOSE config --images | sort -u); do
  docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image does not exist here; build or load it first"
done
is_running worker || fail "the service does not run; docker compose up --detach starts it"

STAGE=before
ended() {
  case $STAGE in
    before) resume || true; say "upgrade.sh: not upgraded; the running workers continue" >&2 ;;
    swap) say "upgrade.sh: the new release did not start (docker compose ps; docker compose logs); workers take no jobs" \
      "until promptsmooth resume. To go back: docker compose down, bring back the earlier files and images," \
      "then docker/operate/restore.sh $1 --replace" >&2 ;;
  esac
}
trap 'ended "$1"' EXIT
say "drain"
drain
say "back up"
docker/operate/backup.sh "$1"
say "swap"
STAGE=swap
$COMPOSE up --detach --wait --no-build --pull never --remove-orphans
say "resume"
resume
STAGE=upgraded
say "upgraded to $($COMPOSE exec -T app python -c 'from importlib.metadata import version; print(version("promptsmooth-service"))')"
