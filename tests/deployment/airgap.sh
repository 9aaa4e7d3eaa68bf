#!/usr/bin/env bash
# The worker's image adds a model to the lab's folder, and make airgap includes it. The resulting folder
# loads and certifies on a separate engine, in a network namespace that has only a loopback interface.
# Run it as root, on a machine whose engine has the images:
#
#   bash tests/deployment/airgap.sh
set -Eeuo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "FAILED: $*" >&2; exit 1; }

load_and_certify() {  # runs in the namespace; takes the folder, and a folder for the engine
  local air=$1 engine=$2
  ip link set lo up
  [ "$(ip -o link | wc -l)" = 1 ] && [ -z "$(ip route)" ] || fail "the namespace has a network"
  export DOCKER_HOST=unix://$engine/docker.sock
  cat >"$engine/daemon.json" <<J
{"data-root": "$engine/data", "exec-root": "$engine/exec", "pidfile": "$engine/pid", "hosts": ["$DOCKER_HOST"], "log-level": "error"}
J
  dockerd --config-file "$engine/daemon.json" >"$engine/log" 2>&1 &
  local dockerd=$!
  # shellcheck disable=SC2064
  trap "kill $dockerd; wait $dockerd || true" EXIT
  for _ in $(seq 120); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
  [ -z "$(docker image ls --quiet)" ] || fail "the engine is not new"
  (cd "$air" && bash load.sh)
  [ "$(ip route get 192.0.2.1 2>&1 | grep -c unreachable)" = 1 ] || fail "there is a way out"
  (cd "$air" && COMPOSE="docker compose" bash "$HERE/certify_once.sh")
  for service in app worker; do
    (cd "$air" && docker compose exec -T $service promptsmooth models list </dev/null) >"$engine/models"
    grep -E '^. second .*present' "$engine/models" || fail "$service: the model did not come along: $(cat "$engine/models")"
  done
  (cd "$air" && docker compose down --volumes --timeout 10 >/dev/null 2>&1)
}

if [ "${1:-}" = --within ]; then
  load_and_certify "$2" "$3"
  exit
fi
WORK=$(mktemp -d /var/tmp/airgap.XXXXXX)
trap 'rm -rf "$WORK"' EXIT

echo "a model of one's own"
# The bundled model under another name, as an archive from elsewhere.
worker() { docker run --rm --interactive --network none --read-only --tmpfs /tmp:size=4g --env PROMPTSMOOTH_MODELS=/models \
  --volume "$WORK/models:/models" --volume "$WORK/media:/media:ro" promptsmooth-worker "$@"; }
chmod 0755 "$WORK"
install -d -o 10001 "$WORK/models"
mkdir "$WORK/media" "$WORK/media/second"
worker promptsmooth models bundle bundled-2 /models/bundled.tar
tar --extract --file "$WORK/models/bundled.tar" --directory "$WORK/media/second"
rm "$WORK/models/bundled.tar"
(cd "$WORK/media/second" && sed -i 's/^id = "bundled-2"/id = "second"/' card.toml &&
  sha256sum card.toml open_clip_* >SHA256SUMS && tar --create --file ../second.tar SHA256SUMS card.toml open_clip_*)
worker promptsmooth models add second /media/second.tar
export PROMPTSMOOTH_MODELS_DIR=$WORK/models
"$HERE/../../docker/operate/airgap.sh" "$WORK/folder"
python3 - "$WORK/folder" <<'P'
import pathlib, re, sys
folder = pathlib.Path(sys.argv[1])
pages = [*folder.glob("docs/*.md"), folder / "README.md"]
links = {(page, link) for page in pages for link in re.findall(r"\]\(([^)#: ]+)[)#]", page.read_text())}
broken = sorted(f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists())
assert len(links) > 50, len(links)
assert not broken, broken
print(f"  the guide came along: {len(links)} links, none broken")
P
mkdir "$WORK/engine"
echo "without any network"
unshare --net bash "${BASH_SOURCE[0]}" --within "$WORK/folder" "$WORK/engine" ||
  { tail -5 "$WORK/engine/log" >&2; fail "the folder did not load and certify"; }

printf 'x' >>"$WORK/folder/images.tar.gz"
if (cd "$WORK/folder" && DOCKER_HOST=unix:///nowhere bash load.sh) >"$WORK/said" 2>&1; then fail "a damaged folder was loaded"; fi
grep -q 'a file is damaged' "$WORK/said" || fail "$(cat "$WORK/said")"
echo "  a damaged folder is refused"
echo "AIRGAP OK"
