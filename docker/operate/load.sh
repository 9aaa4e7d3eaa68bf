#!/usr/bin/env bash
# Checks every file of the folder that make airgap wrote, loads the images, and starts the service with
# the models and prompts in the folder. Run it in that folder, on the machine without a network:
#
#   bash load.sh
#   bash load.sh --images-only    checks and loads but starts nothing; for docker/operate/upgrade.sh
#
# Nothing is downloaded. It can be run again, and keeps an existing .env. Guide: docs/compose.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case ${1:-} in
  ''|--images-only) ;;
  -h|--help) sed -n '2,/^set/p' "${BASH_SOURCE[0]##*/}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
  *) echo "load.sh: $1 is not an option of this script; see --help" >&2; exit 2 ;;
esac
[ -f SHA256SUMS ] || { echo "load.sh: run this script in the folder that make airgap wrote" >&2; exit 1; }

echo "load.sh: checking $(wc -l <SHA256SUMS) files"
sha256sum --check --quiet --strict SHA256SUMS || { echo "load.sh: a file is damaged; copy the folder again" >&2; exit 1; }
docker version >/dev/null 2>&1 || { echo "load.sh: no Docker engine answers; start it, or run this script as a user who may use it" >&2; exit 1; }
docker compose version >/dev/null 2>&1 || { echo "load.sh: docker compose is missing; Compose 2.24 or newer is needed" >&2; exit 1; }
echo "load.sh: loading the images"
gzip -dc images.tar.gz | docker load --quiet
if [ ! -e .env ]; then
  printf 'PROMPTSMOOTH_MODELS_DIR=%s/models\nPROMPTSMOOTH_PROMPTS_DIR=%s/prompts\n' "$PWD" "$PWD" >.env
  files=$(cat compose-files)
  [ -z "$files" ] || printf 'COMPOSE_FILE=%s\n' "$files" >>.env
fi
if [ "${1:-}" = --images-only ]; then
  echo "load.sh: the images are loaded; nothing was started"
  exit
fi
echo "load.sh: starting"
docker compose up --detach --wait --no-build --pull never
echo "load.sh: ready; create the first key: docker compose exec app promptsmooth keys add --label NAME"
