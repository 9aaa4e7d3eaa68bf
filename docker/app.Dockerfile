# The HTTP side: the core dependencies only, no torch. Build context: the repository.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml constraints.txt docker/requirements.py ./
# The tests of other packages are not needed to run them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python requirements.py > requirements.txt \
 && python -m pip --python /opt/venv/bin/python install \
    --only-binary :all: -c constraints.txt -r requirements.txt \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} +
COPY README.md LICENSE NOTICE ./
COPY app app
COPY worker worker
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install --no-deps .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="promptsmooth-service app" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 promptsmooth \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent promptsmooth
COPY --from=build /opt/venv /opt/venv
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
# Refuses to start without keys (PROMPTSMOOTH_KEYS_FILE) unless PROMPTSMOOTH_OPEN is true.
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "8000"]
