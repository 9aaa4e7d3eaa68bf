#!/usr/bin/env bash
# Checks inside each running container that it is hardened: read-only root file system, no capabilities,
# no new privileges, no root, no way out of the internal networks, no default password.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trust_and_authenticate
SERVICES=(proxy app worker redis)

within() {  # within SERVICE WHAT SCRIPT: the script must succeed in the container's own sh
  inside "$1" sh -ec "$3" || fail "$1: $2"
}

echo "inside each container"
for service in "${SERVICES[@]}"; do
  within "$service" "a root file system that can be written" '
    touch /probe 2>/dev/null && exit 1
    grep -qE "^[^ ]+ / [^ ]+ ro[, ]" /proc/mounts'
  # every process, not only this one
  within "$service" "a process is root, has a capability or may gain one" '
    for status in /proc/[0-9]*/status; do
      grep -qsE "^Uid:.*[[:space:]]0([[:space:]]|$)" "$status" && exit 1
      grep -sE "^Cap(Inh|Prm|Eff|Bnd|Amb):" "$status" | grep -qv "0000000000000000$" && exit 1
      grep -qsE "^NoNewPrivs:[[:space:]]1$" "$status" || [ ! -e "$status" ] || exit 1
    done'
  within "$service" "no place for temporary files" 'touch /tmp/probe && rm /tmp/probe'
  limits=$(docker inspect -f '{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} {{.HostConfig.LogConfig.Config}}' \
    "$(container "$service")")
  [[ $limits =~ ^[1-9][0-9]*\ [1-9][0-9]*\ map\[max-file:.*max-size: ]] || fail "$service: limits: $limits"
done
echo "  ${SERVICES[*]}: read-only root, no root, no capabilities, no new privileges, limits"

echo "no way out"
for service in app worker redis; do
  within "$service" "a default route" '! grep -qE "^[^[:space:]]+[[:space:]]00000000[[:space:]]" /proc/net/route'
  # 192.0.2.1 is reserved for documentation, so nobody has it; here even the attempt must fail
  inside "$service" bash -c 'exec 3<>/dev/tcp/192.0.2.1/443' 2>"$FOLDER/out" && fail "$service reaches out"
  grep -q "Network is unreachable" "$FOLDER/out" || fail "$service: $(cat "$FOLDER/out")"
done
echo "  app, worker, redis: no default route, the network is unreachable"
front=$(docker inspect -f '{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}' "$(container proxy)" |
  tr ' ' '\n' | grep front)
[ "$(docker network inspect -f '{{index .Options "com.docker.network.bridge.enable_ip_masquerade"}}' "$front")" = false ] ||
  fail "$front gives a way out"
for service in app worker redis; do
  [ -z "$(docker port "$(container "$service")")" ] || fail "$service publishes a port"
done
docker port "$(container proxy)" | grep -v -- '-> 127\.0\.0\.1:' && fail "the proxy listens beyond loopback"
echo "  only the proxy publishes ports, on 127.0.0.1"

echo "no default password"
inside redis redis-cli ping 2>&1 | found NOAUTH || fail "Redis answers without a password"
for guess in '' redis password default promptsmooth health; do
  for user in default promptsmooth health; do
    inside redis redis-cli --no-auth-warning --user "$user" --pass "$guess" ping 2>&1 | found PONG &&
      fail "Redis takes a guessed password of $user"
  done
done
inside redis sh -c 'REDISCLI_AUTH=$(cat /etc/promptsmooth/health-password) redis-cli --user health dbsize' 2>&1 |
  found NOPERM || fail "the health check's user reads data"
password=$(inside app cat /etc/promptsmooth/redis-password)
[ ${#password} -ge 43 ] || fail "a password of ${#password} characters"
for service in "${SERVICES[@]}"; do
  docker inspect "$(container "$service")" | found "$password" && fail "$service: docker inspect shows the password"
done
inside redis grep -rqF "$password" /etc/promptsmooth && fail "Redis holds the queue's password"
$COMPOSE logs --no-color >"$FOLDER/logs" 2>&1
for secret in "$password" "$KEY" "$(inside redis cat /etc/promptsmooth/health-password)" \
  "$(inside worker od -An -vtx1 /var/lib/promptsmooth/key-secret | tr -d ' \n')"; do
  [ ${#secret} -ge 32 ] || fail "a secret of ${#secret} characters"
  ! grep -qF -e "$secret" "$FOLDER/logs" || fail "the logs show a secret"
done
echo "  Redis answers no unknown user; the password is random and appears in no container's settings and no log"

inside app promptsmooth doctor >"$FOLDER/doctor" || fail "promptsmooth doctor: $(cat "$FOLDER/doctor")"
! grep -E '^(warning|fails)' "$FOLDER/doctor" || fail "promptsmooth doctor finds faults in the shipped deployment"
echo "  promptsmooth doctor has no warning"

for header in 'X-Nothing: 1' 'Authorization: Bearer none' 'X-API-Key: password'; do
  status=$(curl -sS --noproxy '*' --cacert "$TRUSTED" -H "$header" -o "$LAST" -w '%{http_code}' "$URL/models")
  [ "$status" = 401 ] || fail "without a key: $status: $(cat "$LAST")"
done
echo "  without a key of this service nothing is answered"

echo "nothing heavy or needless in the images"
inside app python -c '
from importlib.util import find_spec
heavy = [name for name in ("torch", "open_clip", "transformers", "numba", "mpmath") if find_spec(name)]
assert not heavy, heavy
'
for service in app worker; do
  within "$service" "a compiler" '
    for name in gcc cc c++ clang tcc as ld make; do ! command -v "$name" || exit 1; done'
  inside "$service" cat /usr/share/promptsmooth/sbom.cdx.json >"$FOLDER/sbom.json"
  python3 - "$FOLDER/sbom.json" "$service" <<'P'
import json, sys
bill = json.load(open(sys.argv[1]))
names = {component["name"] for component in bill["components"]}
assert bill["bomFormat"] == "CycloneDX", bill["bomFormat"]
assert {"fastapi", "redis"} <= names, names
assert ("torch" in names) == (sys.argv[2] == "worker"), names
print(f"  {sys.argv[2]}: no compiler; the SBOM names {len(names)} packages")
P
done
echo "HARDENING OK"
