#!/usr/bin/env bash
# Writes a backup of a running or stopped deployment into a new folder:
#
#   docker/operate/backup.sh FOLDER
#
# It holds jobs, images and certificates (Redis), the key secret, API keys, passwords and audit log.
# Redis is paused while its files are copied, a second or so: they are what a power cut would leave,
# and every accepted job is on disk. Whoever has the folder has the secrets: keep it encrypted.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac
FOLDER=$1
[ ! -e "$FOLDER" ] || fail "$FOLDER is there already; name a new folder"
mkdir -p "$(dirname "$FOLDER")"
mkdir -m 0700 "$FOLDER"
FOLDER=$(realpath "$FOLDER")

if is_running redis; then
  trap '$COMPOSE unpause redis >/dev/null 2>&1 || true' EXIT
  $COMPOSE pause redis >/dev/null 2>&1
fi
(umask 077; with_volumes ro -- tar --create --numeric-owner --directory /backup "${VOLUMES[@]}" >"$FOLDER/volumes.tar")
if is_running redis || [ -n "$($COMPOSE ps --quiet --status paused redis)" ]; then
  $COMPOSE unpause redis >/dev/null 2>&1 || true
fi
trap - EXIT
[ ! -f .env ] || install -m 0600 .env "$FOLDER/env"
$COMPOSE images --format json >"$FOLDER/images.json"
(cd "$FOLDER" && sha256sum -- * >SHA256SUMS)
say "backup: $FOLDER, $(du -sh "$FOLDER" | cut -f1); it holds secrets, keep it encrypted"
