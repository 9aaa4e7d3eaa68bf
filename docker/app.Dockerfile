# The HTTP side and the DICOM node: their dependencies only, no torch. Build context: the repository.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY docker/app.lock docker/sbom.lock ./
# The tests of other packages are not needed to run them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install \
    --only-binary :all: --no-deps --require-hashes -r app.lock \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} +
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

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG PROMPTSMOOTH_REVISION=unknown
LABEL org.opencontainers.image.title="promptsmooth-service app" \
      org.opencontainers.image.description="HTTP side: certified robustness of medical vision-language models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${PROMPTSMOOTH_REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0"
# The folders are those that docker-compose.yml mounts volumes at: a fresh volume takes their owner.
RUN groupadd --gid 10001 promptsmooth \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent promptsmooth \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/promptsmooth /var/log/promptsmooth \
    /var/lib/promptsmooth-node \
    /setup/queue /setup/proxy /setup/app \
 && install -d -o 10001 -g 10001 -m 0755 /setup/redis
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sbom.cdx.json /usr/share/promptsmooth/sbom.cdx.json
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# No proxy of the environment: a hospital's would be asked for 127.0.0.1.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=3)"]
# Without keys (PROMPTSMOOTH_KEYS_FILE) it refuses to start, unless PROMPTSMOOTH_PUBLISHED_ON is a
# loopback address or PROMPTSMOOTH_OPEN is true.
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "8000"]
