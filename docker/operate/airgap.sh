#!/usr/bin/env bash
# Writes one folder with all that a machine without any network needs, from the images built here:
#
#   docker/operate/airgap.sh FOLDER          (make airgap: build/airgap)
#
# Images, models and prompts (PROMPTSMOOTH_MODELS_DIR, PROMPTSMOOTH_PROMPTS_DIR), compose files,
# scripts, the guide, checksums of all of it, and load.sh, which checks, loads and starts.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac
FOLDER=$1
[ ! -e "$FOLDER" ] || fail "$FOLDER is there already; remove it or name a new folder"
mapfile -t images < <($COMPOSE config --images | sort -u)
for image in "${images[@]}"; do
  docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image is not here: docker compose build; docker compose pull"
done

setting() {  # setting NAME: its value in the environment, else in .env
  local line; line=$(grep -E "^$1=" .env 2>/dev/null | tail -1 || true)
  printf '%s' "${!1:-${line#*=}}"
}

mkdir -p "$FOLDER/docker" "$FOLDER/models" "$FOLDER/prompts"
cp -R docker-compose.yml compose.*.yml .env.example README.md LICENSE NOTICE docs "$FOLDER/"
cp -R docker/proxy docker/operate docker/prometheus docker/grafana "$FOLDER/docker/"
for kind in models prompts; do
  own=$(setting "PROMPTSMOOTH_${kind^^}_DIR")
  [ -z "$own" ] || cp -RL "$own/." "$FOLDER/$kind/"
done
cp docker/operate/load.sh "$FOLDER/load.sh"
docker save "${images[@]}" | gzip -1 >"$FOLDER/images.tar.gz"
(cd "$FOLDER" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum) >"$FOLDER.sums"
mv "$FOLDER.sums" "$FOLDER/SHA256SUMS"
say "$FOLDER: $(du -sh "$FOLDER" | cut -f1), ${#images[@]} images; bring it over and run: bash load.sh"
