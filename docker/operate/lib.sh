# shellcheck shell=bash
# Shared by the other scripts in this folder, which source it. They run on the host, beside
# docker-compose.yml.
#
# COMPOSE  the docker compose command, with its -f options if there are any
set -Eeuo pipefail
SCRIPT=$(realpath "$0")  # before cd: it may be a relative path
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

COMPOSE=${COMPOSE:-docker compose}
# The service's volumes, below /backup in the container that makes or restores a backup. Models and
# prompts are the operator's own and are not included. Those of containers alone go into a backup as
# they are; what the others hold, promptsmooth backup reads.
VOLUMES=(redis-data redis-config queue-secret proxy-config app-data worker-data audit-log)
# shellcheck disable=SC2034 # backup.sh uses it
OF_CONTAINERS=(redis-config queue-secret proxy-config worker-data)

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

usage() { sed -n '2,/^\./p' "$SCRIPT" | sed '$d; s/^# \{0,1\}//'; }
wrong_use() { printf '%s: %s; see --help\n' "$(basename "$0")" "$*" >&2; exit 2; }

takes() {  # takes WHAT LEAST MOST OPTIONS GIVEN...: ends the script if it was called in another way
  local what=$1 least=$2 most=$3 options=$4 given=0 argument; shift 4
  for argument; do
    case " $options " in *" $argument "*) continue ;; esac
    case $argument in
      -h|--help) usage; exit 0 ;;
      -*) wrong_use "$argument is not an option of this script" ;;
    esac
    given=$((given + 1))
  done
  ((given >= least && given <= most)) || wrong_use "expected $what, got $given names"
}

is_new() { [ ! -e "$1" ] || fail "$1 exists already; name a new folder"; }

has_engine() {
  docker version >/dev/null 2>&1 || fail "no Docker engine answers; start it, or run this script as a user who may use it"
  $COMPOSE version >/dev/null 2>&1 || fail "$COMPOSE does not work here; Compose 2.24 or newer is needed"
}

project() { $COMPOSE config | sed -n 's/^name: //p'; }
is_running() { [ -n "$($COMPOSE ps --quiet --status running "$1")" ]; }

with_volumes() {  # with_volumes ro|rw OPTIONS... -- COMMAND...: root over the volumes; no network, or $NETWORK
  local mode=$1 options=() name volume; shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  name=$(project)
  for volume in "${VOLUMES[@]}"; do options+=(--volume "${name}_$volume:/backup/$volume:$mode"); done
  # The capabilities let it read and restore files of several owners, and nothing else.
  docker run --rm --interactive --pull never --network "${NETWORK:-none}" --read-only --user 0:0 --cap-drop ALL \
    --cap-add DAC_OVERRIDE --cap-add CHOWN --cap-add FOWNER --security-opt no-new-privileges:true \
    --entrypoint "$1" "${options[@]}" promptsmooth-app "${@:2}"
}

start_redis() { $COMPOSE up --detach --wait --no-build --pull never redis >/dev/null 2>&1 || fail "Redis does not start: docker compose logs redis"; }

beside_redis() {  # beside_redis OPTIONS... -- COMMAND...: the same with Redis, and the files where the settings say
  NETWORK=$(project)_queue with_volumes rw --tmpfs /tmp \
    --env REDIS_URL=redis://promptsmooth@redis:6379/0 \
    --env PROMPTSMOOTH_REDIS_PASSWORD_FILE=/backup/queue-secret/redis-password \
    --env PROMPTSMOOTH_DATA_DIR=/backup/worker-data --env PROMPTSMOOTH_KEYS_FILE=/backup/app-data/keys.toml \
    --env PROMPTSMOOTH_AUDIT_LOG=/backup/audit-log --env PROMPTSMOOTH_EVALUATIONS=/backup/app-data/evaluations "$@" </dev/null
}

drain() { $COMPOSE exec -T app promptsmooth drain --wait 60; }
resume() { $COMPOSE exec -T app promptsmooth resume; }
