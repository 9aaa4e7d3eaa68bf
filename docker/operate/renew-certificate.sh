#!/usr/bin/env bash
# Takes a renewed certificate into use while requests go on:
#
#   docker/operate/renew-certificate.sh            your own files in PROMPTSMOOTH_TLS_DIR, replaced before;
#                                                  without them a self-signed one in its last 30 days
#   docker/operate/renew-certificate.sh --renew    a new self-signed certificate, now
#
# Files that do not belong together, or are not valid today, are refused and the old ones stay. Where
# nothing is to be renewed nothing changes, so that a timer may run it each week.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "no name" 0 0 --renew "$@"
has_engine
is_running proxy || fail "the service does not run; docker compose up --detach starts it"

$COMPOSE run --rm --no-deps -T prepare "$@"
$COMPOSE exec -T proxy nginx -t -q
$COMPOSE exec -T proxy nginx -s reload
say "the proxy uses it for every new connection"
