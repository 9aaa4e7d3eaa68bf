#!/usr/bin/env bash
# Writes the folder that a further worker host needs, on the host whose Redis it shall use:
#
#   docker/operate/worker-host.sh FOLDER
#
# The password and the certificate of Redis, and the key secret, which is the same on every host.
# Bring it to the other host on a safe way, as the folder that PROMPTSMOOTH_WORKER_HOST_DIR names.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac
FOLDER=$1
[ ! -e "$FOLDER" ] || fail "$FOLDER is there already; name a new folder"
is_running worker || fail "the service does not run; docker compose up --detach starts it"
mkdir -p "$(dirname "$FOLDER")"
mkdir -m 0700 "$FOLDER"

umask 077
$COMPOSE exec -T worker cat /etc/promptsmooth/redis-password >"$FOLDER/redis-password"
$COMPOSE exec -T worker cat /etc/promptsmooth/redis.crt >"$FOLDER/redis.crt"
$COMPOSE exec -T worker cat /var/lib/promptsmooth/key-secret >"$FOLDER/key-secret"
[ "$(id -u)" != 0 ] || chown -R 10001:10001 "$FOLDER"
say "$FOLDER: redis-password, redis.crt, key-secret; uid 10001 has to be able to read them there"
