#!/usr/bin/env bash
# With the overlays the app reaches an issuer of sign-on and a receiver of webhooks, each on its own network.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
trust_and_authenticate
wait_until "ready" is_ready

# The issuer and the receiver are containers of the app's image, which has the packages that both need.
beside() {  # beside NAME NETWORK ARGUMENT...
  local name=$1 network=$2; shift 2
  docker rm --force "overlay-$name" >/dev/null 2>&1 || true # left by a run that was killed
  docker run --detach --name "overlay-$name" --network "promptsmooth_$network" --network-alias "$name" \
    --volume "$FOLDER/beside:/beside:ro" --env PYTHONPATH=/beside --entrypoint python promptsmooth-app "$@" >/dev/null
}
put_back() {
  docker rm --force overlay-issuer overlay-receiver >/dev/null 2>&1 || true
  $COMPOSE up --detach --wait --no-build --pull never >/dev/null 2>&1
  docker network rm promptsmooth_issuer promptsmooth_webhooks >/dev/null
}

echo "both overlays"
mkdir "$FOLDER/sign-on" "$FOLDER/beside"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=issuer -addext subjectAltName=DNS:issuer \
  -keyout "$FOLDER/beside/issuer.key" -out "$FOLDER/sign-on/issuer.crt" 2>/dev/null
cp "$FOLDER/sign-on/issuer.crt" "$HERE/issuer.py" "$HERE/../issuer_documents.py" \
  "$HERE/../../examples/webhook_receiver.py" "$FOLDER/beside"
cat >"$FOLDER/sign-on/sign-on.toml" <<T
issuer = "https://issuer:9443"
client_id = "promptsmooth"
ca = "/etc/sign-on/issuer.crt"
[groups]
laboratory = ["submit", "read"]
T
cat >"$FOLDER/receivers.yml" <<Y
services:
  app:
    environment:
      PROMPTSMOOTH_WEBHOOK_RECEIVERS: '["http://receiver:9000"]'
      PROMPTSMOOTH_WEBHOOK_NETWORKS: '["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]'
Y
export PROMPTSMOOTH_SIGN_ON_DIR=$FOLDER/sign-on
$COMPOSE -f docker-compose.yml -f compose.sign-on.yml -f compose.webhooks.yml -f "$FOLDER/receivers.yml" \
  up --detach --wait --no-build --pull never >/dev/null 2>&1 || fail "the overlays: $($COMPOSE logs app --tail 5)"
inside app promptsmooth webhooks set "${KEY:4:8}" >"$FOLDER/beside/secret" 2>/dev/null
chmod -R a+rX "$FOLDER"
beside issuer issuer /beside/issuer.py https://issuer:9443 /beside/issuer.crt /beside/issuer.key
beside receiver webhooks /beside/webhook_receiver.py --host 0.0.0.0 --port 9000 --secret-file /beside/secret

is_let_in() {
  TOKEN=$(docker logs overlay-issuer 2>/dev/null)
  [ "$(KEY=$TOKEN http -o "$FOLDER/models" -w '%{http_code}' "$URL/models")" = 200 ]
}
wait_until "a token of the issuer lets in" is_let_in
http "$URL/sign-on" | found '"offered":true' || fail "the page offers no sign-in"
echo "  a token of the issuer lets in, and the page offers to sign in"

http -X POST "$URL/webhooks/test" -H 'Content-Type: application/json' \
  -d '{"callback_url": "http://receiver:9000/hooks"}' | found '"delivered":true' || fail "the test message"
status=$(http -o "$LAST" -w '%{http_code}' -F "image=@$IMAGE" -F sigma=0.25 -F procedure=cohen -F n=200 \
  -F "attempt=$((ATTEMPTS + 40))" -F callback_url=http://receiver:9000/hooks "$URL/certify")
[ "$status" = 202 ] || fail "status $status: $(cat "$LAST")"
is_told() { docker logs overlay-receiver | found "msg_$(field "$LAST" id) certification.finished"; }
wait_until "the receiver is told" is_told
echo "  the receiver was told that the certification had finished"

inside app promptsmooth doctor >"$FOLDER/doctor" || true
found "ok       issuer: https://issuer:9443 answers" <"$FOLDER/doctor" || fail "the doctor: $(cat "$FOLDER/doctor")"
found "ok       receiver http://receiver:9000" <"$FOLDER/doctor" || fail "the doctor: $(cat "$FOLDER/doctor")"
put_back
wait_until "ready" is_ready
echo "OVERLAYS OK"
