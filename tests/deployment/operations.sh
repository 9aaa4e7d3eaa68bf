#!/usr/bin/env bash
# The operators' tasks on a running deployment: renewing a certificate, adding workers, restoring a
# backup after losing everything, upgrading while a job runs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OPERATE=$HERE/../../docker/operate
export COMPOSE
trust_and_authenticate
wait_until "ready" is_ready

echo "a certificate is renewed while an answer is awaited"
cp "$TRUSTED" "$FOLDER/before.crt"
post 10 3000 "Prefer: wait=30" >"$FOLDER/status" &
"$OPERATE/renew-certificate.sh" --renew
inside proxy cat /etc/promptsmooth/server.crt >"$FOLDER/after.crt"
cmp -s "$FOLDER/before.crt" "$FOLDER/after.crt" && fail "the certificate is the same"
cp "$FOLDER/after.crt" "$TRUSTED"
is_served() { http -o /dev/null "$URL/healthz" 2>/dev/null; }
wait_until "the new certificate" is_served
wait $!
[[ $(cat "$FOLDER/status") =~ ^20[02]$ ]] || fail "the awaited answer: $(cat "$FOLDER/status")"
echo "  new connections get the new one; the awaited answer came"

echo "three workers"
$COMPOSE up --detach --wait --no-build --pull never --no-recreate --scale worker=3 >/dev/null 2>&1
has_three() {
  http -o "$LAST" "$URL/readyz" && [ "$(python3 -c 'import json, sys
print(len(set(json.load(open(sys.argv[1]))["workers"])))' "$LAST")" = 3 ]
}
wait_until "three worker hosts in /readyz" has_three
secrets=$(for n in 1 2 3; do $COMPOSE exec -T --index $n worker sha256sum /var/lib/promptsmooth/key-secret </dev/null; done | sort -u)
[ "$(wc -l <<<"$secrets")" = 1 ] || fail "the workers have different key secrets"
certify 11
$COMPOSE up --detach --wait --no-build --pull never --no-recreate --scale worker=1 >/dev/null 2>&1
echo "  three hosts announced themselves, with one key secret and a socket each"

echo "workers on several GPUs"
# An overlay extends the file beside it, so it must be in that folder while it is checked.
trap 'rm -rf "$FOLDER" "$OPERATE/../../compose.gpus-checked.yml"' EXIT
check_overlay() {  # check_overlay FILES ARGUMENTS OF gpus.sh...: checks what compose makes of the overlay
  local files=$1 overlay=$OPERATE/../../compose.gpus-checked.yml; shift
  "$OPERATE/gpus.sh" "$@" >"$overlay"
  (cd "$OPERATE/../.." && PROMPTSMOOTH_QUEUE_HOST=redis COMPOSE_FILE=$files:compose.gpu.yml:compose.gpus-checked.yml \
    docker compose config --format json) | python3 -c '
import json, sys
services = json.load(sys.stdin)["services"]
devices = lambda name: services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
assert {name: devices(name) for name in services if name.startswith("worker")} == {
    "worker": ["0"], "worker-gpu-1": ["1"], "worker-gpu-GPU-5f": ["GPU-5f"]}
further = services["worker-gpu-1"]
same = ("image", "read_only", "cap_drop", "security_opt", "tmpfs", "mem_limit", "volumes", "networks", "healthcheck")
assert all(further.get(key) == services["worker"].get(key) for key in same), further
assert "build" not in further and further["environment"] == services["worker"]["environment"], further'
}
check_overlay docker-compose.yml 1 GPU-5f
check_overlay compose.worker-host.yml --worker-host 1 GPU-5f
echo "  one worker for each, hardened as the first one is, also on a host with workers alone"

echo "an upgrade with a job under way"
certify 12
first="/certifications/$(field "$LAST" id)"
http -o "$FOLDER/first.json" "$URL$first"
[ "$(post 13 20000)" = 202 ] || fail "not accepted: $(cat "$LAST")"
under_way="/certifications/$(field "$LAST" id)"
wait_until "the job under way" has_progress "$under_way"
old=$(container worker)
# a different release: the same code in new images
for image in app worker; do
  echo "FROM promptsmooth-$image" | docker build --quiet --label test.release=next --tag "promptsmooth-$image" - >/dev/null
done
"$OPERATE/upgrade.sh" "$FOLDER/backup"
[ "$(container worker)" != "$old" ] || fail "the worker was not swapped"
wait_until "ready after the upgrade" is_ready
wait_until "the job that was under way" is_finished "$under_way"
check_certificates "$FOLDER/under_way.json"
http -o "$FOLDER/again.json" "$URL$first"
cmp "$FOLDER/first.json" "$FOLDER/again.json" || fail "the first certification has changed: $(cat "$FOLDER/again.json")"
echo "  the job under way went on; what was certified before is the same"

echo "everything is lost, and the backup put back"
certify 14
lost="/certifications/$(field "$LAST" id)"
"$OPERATE/restore.sh" "$FOLDER/backup" >/dev/null 2>"$FOLDER/said" && fail "a running service was overwritten"
grep -q "runs; stop the service first" "$FOLDER/said" || fail "$(cat "$FOLDER/said")"
$COMPOSE down --volumes --timeout 20 >/dev/null 2>&1
cp -R "$FOLDER/backup" "$FOLDER/damaged"
printf x >>"$FOLDER/damaged/redis.jsonl.gz"
"$OPERATE/restore.sh" "$FOLDER/damaged" 2>/dev/null >&2 && fail "a damaged backup was put back"
"$OPERATE/restore.sh" "$FOLDER/backup"
wait_until "ready after the restore" is_ready
http -o "$FOLDER/again.json" "$URL$first"
cmp "$FOLDER/first.json" "$FOLDER/again.json" || fail "the first certification has changed: $(cat "$FOLDER/again.json")"
[ "$(http -o "$LAST" -w '%{http_code}' "$URL$lost")" = 404 ] || fail "the backup holds what came after it"
certify 14 # the API key and the key secret are the earlier ones
echo "  keys, certificates and the noise are those of the backup"
echo "OPERATIONS OK"
