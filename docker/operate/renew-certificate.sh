#!/usr/bin/env bash
# Starts using a renewed certificate without interrupting requests:
#
#   docker/operate/renew-certificate.sh            your own files in PROMPTSMOOTH_TLS_DIR, which you have
#                                                  replaced; without such files, a self-signed
#                                                  certificate in its last 30 days
#   docker/operate/renew-certificate.sh --renew    a new self-signed certificate, now
#
# Files that do not match each other, or are not valid today, are refused, and the old ones stay. If no
# renewal is due, nothing changes, so a timer may run this every week.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "no name" 0 0 --renew "$@"
has_engine
is_running proxy || fail "the service does not run; docker compose up --detach starts it"

$COMPOSE run --rm --no-deps -T prepare "$@"
$COMPOSE exec -T proxy nginx -t -q
$COMPOSE exec -T proxy nginx -s reload
say "the proxy uses the current certificate for every new connection"
