#!/usr/bin/env bash
# Takes a renewed certificate into use while requests go on:
#
#   docker/operate/renew-certificate.sh            your own files in PROMPTSMOOTH_TLS_DIR, replaced before
#   docker/operate/renew-certificate.sh --renew    a new self-signed certificate
#
# Files that do not belong together, or are not valid today, are refused and the old ones stay.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in --renew|'') ;; *) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac

$COMPOSE run --rm --no-deps prepare "$@"
$COMPOSE exec -T proxy nginx -t -q
$COMPOSE exec -T proxy nginx -s reload
say "the proxy uses it for every new connection"
