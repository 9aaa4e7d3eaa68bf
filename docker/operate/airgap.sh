#!/usr/bin/env bash
# Writes one folder with everything that a machine without a network needs, from the images built here:
#
#   docker/operate/airgap.sh FOLDER          (make airgap: build/airgap)
#
# The folder holds images, models and prompts (PROMPTSMOOTH_MODELS_DIR, PROMPTSMOOTH_PROMPTS_DIR),
# compose files, scripts, the guide, checksums of all files, and load.sh, which checks and loads them
# and starts the service.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "one folder" 1 1 "" "$@"
FOLDER=$1
is_new "$FOLDER"
has_engine
mapfile -t images < <($COMPOSE config --images | sort -u)
for image in "${images[@]}"; do
  docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image does not exist here; run docker compose build and docker compose pull"
done

setting() {  # setting NAME: prints its value from the environment, else from .env
  local line; line=$(grep -E "^$1=" .env 2>/dev/null | tail -1 || true)
  printf '%s' "${!1:-${line#*=}}"
}
overlays() {  # prints the compose files in use here, as COMPOSE_FILE will name them there
  local said; said=$(grep -oE -- '(-f|--file)[ =]+[^ ]+' <<<"$COMPOSE" | sed -E 's/^[^ =]+[ =]+//' || true)
  tr : '\n' <<<"${said:-$(setting COMPOSE_FILE)}" | sed 's,.*/,,' | paste -sd:
}

mkdir -p "$(dirname "$FOLDER")"
PART=$(mktemp -d "$FOLDER.XXXXXX") # renamed once it is complete
trap 'rm -rf "$PART"' EXIT
chmod 0755 "$PART"
mkdir -p "$PART/docker" "$PART/models" "$PART/prompts" "$PART/benchmarks/results"
cp -R docker-compose.yml compose.*.yml .env.example ./*.md LICENSE NOTICE docs "$PART/"
cp benchmarks/results/*.md "$PART/benchmarks/results/"
cp --parents app/web/examples/README.md "$PART/" # README names the images' sources there
cp -R docker/proxy docker/operate docker/prometheus docker/grafana "$PART/docker/"
cp --parents docker/pacs/{rules.toml,node.env,orthanc.json,route.lua} "$PART/" # no key of an operator
[ ! -d build/site ] || cp -R build/site "$PART/guide" # if make docs was run
for kind in models prompts; do
  own=$(setting "PROMPTSMOOTH_${kind^^}_DIR")
  [ -z "$own" ] || cp -RL "$own/." "$PART/$kind/"
done
cp docker/operate/load.sh "$PART/load.sh"
overlays >"$PART/compose-files"
docker save "${images[@]}" | gzip -1 >"$PART/images.tar.gz"
sums=$(cd "$PART" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
printf '%s\n' "$sums" >"$PART/SHA256SUMS"
mv -T "$PART" "$FOLDER"
say "$FOLDER: $(du -sh "$FOLDER" | cut -f1), ${#images[@]} images; copy it to the other machine and run there: bash load.sh"
