#!/usr/bin/env bash
# What the proxy promises: TLS, limits, slow clients, request ids, events without delay.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
trust_and_authenticate
wait_until "ready" is_ready

echo "the proxy"
python3 "$HERE/proxy.py" "$URL" "http://localhost:${PROMPTSMOOTH_HTTP_PORT:-8080}" "$TRUSTED" "$KEY"

http -o /dev/null -D "$FOLDER/headers" -H 'X-Request-ID: 0123' "$URL/certifications/nothing-of-this-name"
id=$(tr -d '\r' <"$FOLDER/headers" | sed -n 's/^x-request-id: //ip')
$COMPOSE logs --no-color --no-log-prefix proxy | tr -d '\r' | found "\"request_id\":\"$id\"" ||
  fail "the proxy's log has no request $id"
$COMPOSE logs --no-color proxy | found nothing-of-this-name && fail "the log shows a mistyped path"
echo "  the log has the id of the answer, and no unknown path"

edge=$(docker inspect -f '{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}' "$(container proxy)" |
  tr ' ' '\n' | grep edge)
inside app promptsmooth keys add --label prometheus --scope read --requests-per-minute 0 2>/dev/null |
  docker run --rm --interactive --network "$edge" --entrypoint python promptsmooth-app -c '
import sys
from urllib.request import Request, urlopen
request = Request("http://app:8000/metrics", headers={"Authorization": f"Bearer {sys.stdin.read().strip()}"})
text = urlopen(request, timeout=10).read().decode()
assert "\npromptsmooth_" in text, text[:500]' || fail "no metrics inside the network edge"
echo "  metrics are read inside, with a key"

[ "$(post 30 6000)" = 202 ] || fail "not accepted: $(cat "$LAST")"
http --no-buffer --max-time 120 "$URL/certifications/$(field "$LAST" id)/events" |
  while IFS= read -r line; do printf '%s %s\n' "$(date +%s.%N)" "$line"; done >"$FOLDER/events"
python3 - "$FOLDER/events" <<'P'
import sys
lines = [line.rstrip("\n").split(" ", 1) for line in open(sys.argv[1])]
times = [float(at) for at, line in lines if line.startswith("event:")]
names = [line.split(":", 1)[1].strip() for _, line in lines if line.startswith("event:")]
assert names[-1] == "done" and names.count("progress") >= 2, names
assert times[-1] - times[0] > 0.5, "the events came in one piece: they were held back"
print(f"  {len(names)} events, as they came, over {times[-1] - times[0]:.1f} s")
P
echo "PROXY OK"
