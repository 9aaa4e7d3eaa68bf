#!/usr/bin/env bash
# Prints an overlay with one worker for each further GPU, by index or UUID:
#
#   docker/operate/gpus.sh 1 2 3 > compose.gpus.yml
#   docker compose -f docker-compose.yml -f compose.gpu.yml -f compose.gpus.yml up -d
#
# compose.gpu.yml has the first one (PROMPTSMOOTH_GPU). All share jobs, key secret and settings.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in ''|-*) sed -n '2,/^\./p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;; esac

say "# Written by docker/operate/gpus.sh $*"
say "services:"
for gpu; do
  [[ $gpu =~ ^[A-Za-z0-9-]+$ ]] || fail "$gpu is neither the index nor the UUID of a GPU"
  cat <<Y
  worker-gpu-$gpu:
    extends: { file: docker-compose.yml, service: worker }
    image: promptsmooth-worker-cuda
    build: !reset null
    environment:
      PROMPTSMOOTH_DEVICE: cuda
    tmpfs: !override ["/tmp:size=4g,exec"]
    mem_limit: \${PROMPTSMOOTH_GPU_WORKER_MEMORY:-16g}
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              device_ids: ["$gpu"]
              capabilities: [gpu]
Y
done
