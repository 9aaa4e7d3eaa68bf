# shellcheck shell=bash
# Shared by the other scripts in this folder, which source it. They run as root beside `docker compose up`.
#
# COMPOSE  the docker compose command      URL  the service's address
set -Eeuo pipefail

COMPOSE=${COMPOSE:-docker compose}
URL=${URL:-https://localhost:${PROMPTSMOOTH_PORT:-8443}}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND" >&2' ERR
IMAGE=$FOLDER/CT_small.dcm
TRUSTED=$FOLDER/server.crt
LAST=$FOLDER/answer.json
ATTEMPTS=$((RANDOM % 9000)) # an already tested deployment has stored the answers to earlier attempts

fail() { echo "FAILED: $*" >&2; exit 1; }
inside() { $COMPOSE exec -T "$@" </dev/null; }
# Reads to the end: grep -q stops at the first hit, which kills the writer, so pipefail hides the hit.
found() { grep -F -e "$1" >/dev/null; }
http() { curl -sS --noproxy '*' --max-time 60 --cacert "$TRUSTED" -H "Authorization: Bearer $KEY" "$@"; }
seconds_since() { python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.1f} s")' "$1"; }
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }

wait_until() {  # wait_until WHAT COMMAND...; the limit ends a hang
  local limit=600 what=$1 began=$SECONDS; shift
  until "$@"; do
    ((SECONDS - began < limit)) || fail "$what: not within $limit s"
    sleep 0.5
  done
}

is_ready() { [ "$(http -o "$FOLDER/readyz" -w '%{http_code}' "$URL/readyz" 2>/dev/null)" = 200 ]; }

trust_and_authenticate() {  # gets the certificate to trust, a new key and a DICOM file
  inside proxy cat /etc/promptsmooth/server.crt >"$TRUSTED"
  KEY=$(new_key test)
  inside app python -c '
import sys; from pydicom.data import get_testdata_file
sys.stdout.buffer.write(open(get_testdata_file("CT_small.dcm"), "rb").read())
' >"$IMAGE"
}

new_key() { inside app promptsmooth keys add --label "$1" --scope submit --scope read 2>/dev/null; }  # prints it

post() {  # post ATTEMPT N [HEADER]: prints the answer's status; $LAST has its body
  http -o "$LAST" -w '%{http_code}' ${3:+-H "$3"} -F "image=@$IMAGE" -F sigma=0.1 -F sigma=0.25 \
    -F procedure=cohen -F "n=$2" -F "attempt=$((ATTEMPTS + $1))" "$URL/certify"
}

check_certificates() {  # one per noise level in FILE, each a certificate or an abstention
  python3 - "$1" <<'P'
import json, sys
found = json.load(open(sys.argv[1]))
assert found["status"] == "finished", found
assert [str(entry["sigma"]) for entry in found["certificates"]] == ["0.1", "0.25"], found
for entry in found["certificates"]:
    assert entry["outcome"] in ("certified", "abstained"), entry
    assert (entry["outcome"] == "certified") == (float(entry.get("radius", 0)) > 0), entry
    said = f"{entry['prediction']}, radius {entry['radius']}" if "radius" in entry else ""
    print(f"  sigma {entry['sigma']}: {entry['outcome']} {said}")
P
}

certify() {  # certify ATTEMPT: a new attempt draws new noise, so no stored answer is returned
  local began status; began=$(date +%s.%N)
  status=$(post "$1" 500 "Prefer: wait=30")
  case $status in
    200) ;;
    202) # the machine is busy
      wait_until "attempt $1" is_finished "/certifications/$(field "$LAST" id)"
      cp "$FOLDER/under_way.json" "$LAST" ;;
    *) fail "attempt $1: status $status: $(cat "$LAST")" ;;
  esac
  check_certificates "$LAST"
  echo "  certified in $(seconds_since "$began")"
}

has_progress() {  # has_progress LOCATION: whether it runs and has counted votes
  http -o "$FOLDER/progress.json" "$URL$1"
  python3 - "$FOLDER/progress.json" <<'P'
import json, sys
found = json.load(open(sys.argv[1]))
sys.exit(not (found["status"] == "running" and found.get("progress", {}).get("samples_done", 0) > 0))
P
}

is_finished() {
  http -o "$FOLDER/under_way.json" "$URL$1"
  case $(field "$FOLDER/under_way.json" status) in
    finished) ;;
    failed) fail "the job under way: $(cat "$FOLDER/under_way.json")" ;;
    *) return 1 ;;
  esac
}

container() { $COMPOSE ps -q "$1" | head -1; }
state() { docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.Health.Status}}' "$1"; }
is_in_state() { [ "$(state "$1")" = "$2" ]; }

kill_main() {  # kill -9 of a service's main process; the restart policy brings it back
  local began id restarts; began=$(date +%s.%N)
  id=$(container "$1")
  restarts=$(docker inspect -f '{{.RestartCount}}' "$id")
  kill -9 "$(docker inspect -f '{{.State.Pid}}' "$id")"
  wait_until "$1 healthy again" is_in_state "$id" "$((restarts + 1)) running healthy"
  echo "  $1: healthy again after $(seconds_since "$began")"
  wait_until "ready after kill -9 of $1" is_ready
}
