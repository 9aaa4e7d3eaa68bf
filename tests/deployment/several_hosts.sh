#!/usr/bin/env bash
# A host that runs only workers certifies for the Redis of a running deployment, over TLS.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
OPERATE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../../docker/operate
export COMPOSE
trust_and_authenticate
wait_until "ready" is_ready

echo "a second host"
# Redis is reached as another machine would reach it: through the port that this machine publishes.
machine=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' bridge)
export PROMPTSMOOTH_QUEUE_BIND=$machine
$COMPOSE -f docker-compose.yml -f compose.queue-host.yml up --detach --wait --no-build --pull never >/dev/null 2>&1
"$OPERATE/worker-host.sh" "$FOLDER/worker-host"
export PROMPTSMOOTH_QUEUE_HOST=redis PROMPTSMOOTH_WORKER_HOST_DIR=$FOLDER/worker-host
cat >"$FOLDER/other.yml" <<Y
services:
  worker:
    extra_hosts: ["redis:$machine"]
Y
other=(docker compose -f compose.worker-host.yml -f "$FOLDER/other.yml" --project-directory .)
$COMPOSE stop worker >/dev/null 2>&1
"${other[@]}" up --detach --wait --no-build --pull never >/dev/null 2>&1 ||
  fail "the second host: $("${other[@]}" logs --tail 5)"
wait_until "ready by the second host alone" is_ready
certify 20
echo "  certified by the second host alone, over TLS"
"${other[@]}" down --volumes --timeout 20 >/dev/null 2>&1
$COMPOSE up --detach --wait --no-build --pull never >/dev/null 2>&1
wait_until "ready" is_ready
echo "SEVERAL HOSTS OK"
