#!/usr/bin/env bash
# Run it in the folder that make airgap wrote, on the machine without network: checks every file,
# loads the images and starts the service with the models and prompts of this folder.
#
#   bash load.sh
#
# Nothing is fetched. It can be run again; what .env says stays. Guide: docs/compose.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
[ -f SHA256SUMS ] || { echo "load.sh: run it in the folder that make airgap wrote" >&2; exit 1; }

echo "load.sh: checking $(wc -l <SHA256SUMS) files"
sha256sum --check --quiet --strict SHA256SUMS || { echo "load.sh: a file is damaged; bring the folder over again" >&2; exit 1; }
echo "load.sh: loading the images"
gzip -dc images.tar.gz | docker load --quiet
if [ ! -e .env ]; then
  printf 'PROMPTSMOOTH_MODELS_DIR=%s/models\nPROMPTSMOOTH_PROMPTS_DIR=%s/prompts\n' "$PWD" "$PWD" >.env
fi
echo "load.sh: starting"
docker compose up --detach --wait --no-build --pull never
echo "load.sh: ready; make the first key: docker compose exec app promptsmooth keys add --label NAME"
