# The compute side: engine, RQ workers and their supervisor. Context: the repository.
# TORCH=cpu takes torch from TORCH_INDEX_URL; TORCH=cuda takes PyPI's, with CUDA's libraries.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
ARG TORCH=cpu
# Torch first and alone, so that this index is asked for torch and torchvision only. It names no
# hashes; where it cannot be reached, pip says so and takes what its own configuration offers; a
# wheel +cpu is preferred.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY docker/torch-cpu.txt docker/torch-cuda.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    case "${TORCH}" in \
      cpu) set -- --retries 1 --timeout 30 --extra-index-url "${TORCH_INDEX_URL}" -r torch-cpu.txt ;; \
      cuda) set -- --require-hashes -r torch-cuda.lock ;; \
      *) echo "TORCH: expected cpu or cuda, got ${TORCH}" >&2; exit 1 ;; \
    esac \
 && python -m pip --python /opt/venv/bin/python install --only-binary :all: --no-deps "$@"
# The tests of other packages, torch's C++ headers, and OpenVINO's other devices and file formats are
# not needed to run them.
COPY docker/worker.lock docker/sbom.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install \
    --only-binary :all: --no-deps --require-hashes -r worker.lock \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} + \
 && rm -rf /opt/venv/lib/python3.*/site-packages/torch/test \
    /opt/venv/lib/python3.*/site-packages/torch/include \
 && rm -rf /opt/venv/lib/python3.*/site-packages/openvino/include \
    /opt/venv/lib/python3.*/site-packages/openvino/cmake \
 && find /opt/venv/lib/python3.*/site-packages/openvino/libs -regextype posix-extended -regex \
    '.*/(cache.json|libopenvino_(intel_[gn]pu|auto|hetero|gguf|jax|onnx|paddle|tensorflow).*)' -delete
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/sbom-maker \
 && /opt/sbom-maker/bin/python -m pip install \
    --only-binary :all: --no-deps --require-hashes -r sbom.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app app
COPY worker worker
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install --no-deps . \
 && /opt/sbom-maker/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
    --output-format JSON --output-file /opt/sbom.cdx.json /opt/venv/bin/python
# Triton launches kernels by a C module that it would compile on the host with the GPU. Compiled
# here, so that the image needs no compiler. python3-dev: where the base image has no Python.h.
RUN if [ "${TORCH}" = cuda ]; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
      && /opt/venv/bin/python -m worker.engine.runner.launcher; \
    fi

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG TORCH=cpu
ARG PROMPTSMOOTH_REVISION=unknown
LABEL org.opencontainers.image.title="promptsmooth-service worker (${TORCH})" \
      org.opencontainers.image.description="Compute side: certified robustness of medical vision-language models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${PROMPTSMOOTH_REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0"
RUN groupadd --gid 10001 promptsmooth \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent promptsmooth \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/promptsmooth
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sbom.cdx.json /usr/share/promptsmooth/sbom.cdx.json
# The key secret lies in the data folder, which hosts share. What belongs to one container, its
# engine's socket and what is compiled for its processor or GPU, lies in /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PROMPTSMOOTH_DATA_DIR=/var/lib/promptsmooth \
    PROMPTSMOOTH_ENGINE_SOCKET=/tmp/engine.sock \
    NUMBA_CACHE_DIR=/tmp/numba \
    TRITON_CACHE_DIR=/tmp/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    CUDA_CACHE_PATH=/tmp/cuda \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /tmp
VOLUME /var/lib/promptsmooth
# Several large models may take minutes to load; once the engine answers it is healthy at once.
HEALTHCHECK --interval=15s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
