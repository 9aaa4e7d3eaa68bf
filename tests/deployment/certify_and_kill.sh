#!/usr/bin/env bash
# The running deployment certifies a real DICOM image through TLS, also after kill -9 of each part. What
# was accepted before is neither lost nor changed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

trust_and_authenticate
echo "ready"
wait_until "ready" is_ready

echo "certify"
certify 0
first="/certifications/$(field "$LAST" id)"
http -o "$FOLDER/first.json" "$URL$first"
http -o "$FOLDER/key.json" "$URL/keys/signing"
$COMPOSE exec -T worker promptsmooth audit /dev/stdin --key "$(field "$FOLDER/key.json" public_key)" \
  <"$FOLDER/first.json" >"$FOLDER/audit" ||
  fail "the audit inside the container: $(cat "$FOLDER/audit")"
echo "  the audit inside the container passes"

echo "kill -9 of the worker while a job is under way"
[ "$(post 1 6000)" = 202 ] || fail "not accepted: $(cat "$LAST")"
under_way="/certifications/$(field "$LAST" id)"
wait_until "the job under way" has_progress "$under_way"
killed=$(date +%s.%N)
kill_main worker
certify 2
wait_until "the job that was under way" is_finished "$under_way"
check_certificates "$FOLDER/under_way.json"
echo "  the job that was under way finished $(seconds_since "$killed") after the kill"

attempt=3
for service in app redis proxy; do
  echo "kill -9 of $service"
  kill_main $service
  certify $attempt
  http -o "$FOLDER/again.json" "$URL$first"
  cmp "$FOLDER/first.json" "$FOLDER/again.json" ||
    fail "the first certification has changed: $(cat "$FOLDER/again.json")"
  attempt=$((attempt + 1))
done
echo "DEPLOYMENT OK"
