#!/usr/bin/env bash
# Prints an overlay with one worker for each additional GPU, named by index or UUID:
#
#   docker/operate/gpus.sh 1 2 3 > compose.gpus.yml
#   docker compose -f docker-compose.yml -f compose.gpu.yml -f compose.gpus.yml up -d
#
# compose.gpu.yml has the first GPU (PROMPTSMOOTH_GPU). All workers share jobs, key secret and settings.
# --worker-host: for a host that runs only workers, with compose.worker-host.yml and compose.gpu.yml.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
takes "the index or UUID of at least one GPU" 1 1024 --worker-host "$@"
GPUS=() BASE=docker-compose.yml
for argument; do
  if [ "$argument" = --worker-host ]; then BASE=compose.worker-host.yml; else GPUS+=("$argument"); fi
done
for gpu in "${GPUS[@]}"; do
  [[ $gpu =~ ^[A-Za-z0-9-]+$ ]] || wrong_use "$gpu is neither the index nor the UUID of a GPU"
done

say "# Written by docker/operate/gpus.sh $*"
say "services:"
for gpu in "${GPUS[@]}"; do
  cat <<Y
  worker-gpu-$gpu:
    extends: { file: $BASE, service: worker }
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
