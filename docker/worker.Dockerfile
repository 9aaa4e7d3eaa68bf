# The compute side for CPU hosts: engine, RQ workers and their supervisor. Context: the repository.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml constraints.txt docker/requirements.py ./
# Torch first and alone, so that this index is asked for torch and torchvision only. Where it cannot
# be reached, pip says so and takes what its own configuration offers; a wheel +cpu is preferred.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install --retries 1 --timeout 30 \
    --only-binary :all: --no-deps --extra-index-url "${TORCH_INDEX_URL}" -c constraints.txt \
    torch torchvision
# The tests of other packages and torch's C++ headers are not needed to run them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python requirements.py worker > requirements.txt \
 && python -m pip --python /opt/venv/bin/python install \
    --only-binary :all: -c constraints.txt -r requirements.txt \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} + \
 && rm -rf /opt/venv/lib/python3.*/site-packages/torch/test \
    /opt/venv/lib/python3.*/site-packages/torch/include
COPY README.md LICENSE NOTICE ./
COPY app app
COPY worker worker
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install --no-deps .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="promptsmooth-service worker (CPU)" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 promptsmooth \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent promptsmooth \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/promptsmooth
COPY --from=build /opt/venv /opt/venv
# The key secret lies in the data folder, which hosts share. What belongs to one container, its
# engine's socket and the noise that numba compiles for its processor, lies in /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PROMPTSMOOTH_DATA_DIR=/var/lib/promptsmooth \
    PROMPTSMOOTH_ENGINE_SOCKET=/tmp/engine.sock \
    NUMBA_CACHE_DIR=/tmp/numba \
    XDG_CACHE_HOME=/tmp/cache \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /tmp
VOLUME /var/lib/promptsmooth
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
