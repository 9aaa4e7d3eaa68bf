#!/usr/bin/env bash
# Writes the lock files of the images from pyproject.toml and constraints.txt: make lock.
# All but torch-cpu.txt have hashes, because PyTorch's own index of CPU wheels provides none.
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-uv}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

compile() {  # compile FILE ARGUMENTS...
  local file=$1; shift
  "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "make lock" --output-file "$file" "$@"
}

compile "$FOLDER/app.lock" pyproject.toml --extra oidc --extra dicom --constraints constraints.txt
# OpenVINO runs without the package that would report its use, and no image has it.
compile "$FOLDER/all.lock" pyproject.toml --extra worker --constraints constraints.txt \
  --no-emit-package openvino-telemetry
echo 'cyclonedx-bom>=7.5,<8' >"$FOLDER/sbom.in"
compile "$FOLDER/sbom.lock" "$FOLDER/sbom.in"

# Separates the packages that differ between a CPU and a CUDA image from those that do not.
awk -v folder="$FOLDER" '
  /^#/ { print >(folder "/torch-cuda.lock"); print >(folder "/worker.lock"); next }
  /^[a-z]/ { file = /^(torch|torchvision|triton|nvidia-|cuda-)/ ? "torch-cuda.lock" : "worker.lock" }
  { print >(folder "/" file) }' "$FOLDER/all.lock"
grep -E '^torch(vision)?==' constraints.txt >"$FOLDER/torch-cpu.txt"

cp "$FOLDER"/{app,worker,torch-cuda,sbom}.lock "$FOLDER/torch-cpu.txt" docker/
