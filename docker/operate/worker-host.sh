#!/usr/bin/env bash
# Writes the folder that an additional worker host needs. Run it on the host whose Redis that host will
# use:
#
#   docker/operate/worker-host.sh FOLDER
#
# The folder holds the password and the certificate of Redis, and the key secret, which is the same on
# every host. Transfer it to the other host securely, as the folder that PROMPTSMOOTH_WORKER_HOST_DIR
# names there.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "one folder" 1 1 "" "$@"
FOLDER=$1
is_new "$FOLDER"
has_engine
is_running worker || fail "the service does not run; docker compose up --detach starts it"
mkdir -p "$(dirname "$FOLDER")"
PART=$(mktemp -d "$FOLDER.XXXXXX") # 0700; renamed once it is complete
trap 'rm -rf "$PART"' EXIT

umask 077
$COMPOSE exec -T worker cat /etc/promptsmooth/redis-password >"$PART/redis-password"
$COMPOSE exec -T worker cat /etc/promptsmooth/redis.crt >"$PART/redis.crt"
$COMPOSE exec -T worker cat /var/lib/promptsmooth/key-secret >"$PART/key-secret"
[ "$(id -u)" != 0 ] || chown -R 10001:10001 "$PART"
mv -T "$PART" "$FOLDER"
say "$FOLDER: redis-password, redis.crt, key-secret; uid 10001 on the other host must be able to read them"
