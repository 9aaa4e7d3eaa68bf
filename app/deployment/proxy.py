"""The proxy's configuration from the settings, and the proxy's own answers."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from app.deployment.settings import DeploymentSettings
from app.server.answers.problems import MEDIA_TYPE, BodyTooLarge
from app.server.middleware.request_context import SECURITY_HEADERS
from app.settings import AppSettings
from models.files.whole_file import write_whole

HTTP_NAME, ANSWERS_NAME = "http.conf", "answers.conf"
_AFTER_WAIT_S = 60  # beyond the longest wait that a client may request


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that the proxy gives itself, without the app or when the app did not answer."""

    status: int
    code: str
    detail: str
    caught: tuple[int, ...]  # the proxy's own statuses that become this answer
    retry_after_s: int | None = None


PLAIN_HTTP = Answer(
    status=403,
    code="plain_http",
    detail="This port answers nothing over plain HTTP. Use https; what was sent went unencrypted, "
    "so make a new key if there was one.",
    caught=(),
)
INSIDE_ONLY = Answer(
    status=404,
    code="not_found",
    detail="There is nothing at this address. Figures for Prometheus are read inside, at app:8000.",
    caught=(404,),
)
ANSWERS = (
    Answer(
        status=400,
        code="request_malformed",
        detail="The request line or its headers are malformed or too large.",
        caught=(400, 414, 494),
    ),
    Answer(
        status=429,
        code="connections_exceeded",
        detail="Too many requests from one address are under way; wait for their answers.",
        caught=(429,),
        retry_after_s=2,
    ),
    Answer(
        status=503,
        code="service_away",
        detail="The service does not answer at the moment; try again shortly.",
        caught=(500, 502, 503, 504),
        retry_after_s=2,
    ),
)


def write_proxy_settings(
    folder: Path, deployment: DeploymentSettings, app: AppSettings, *, trusted: bool
) -> None:
    """Writes the files that docker/proxy/nginx.conf includes."""
    hsts_s = deployment.hsts_s if trusted else 0
    texts = {
        HTTP_NAME: _http(deployment, app, hsts_s),
        ANSWERS_NAME: "".join(map(_location, (*_own_answers(app), PLAIN_HTTP, INSIDE_ONLY))),
    }
    for name, text in texts.items():
        write_whole(folder / name, text.encode(), mode=0o444)


def _own_answers(app: AppSettings) -> tuple[Answer, ...]:
    too_large = Answer(
        status=BodyTooLarge.status,
        code=BodyTooLarge.code,
        detail=f"Expected a request body of at most {app.max_body_bytes} bytes, got more.",
        caught=(BodyTooLarge.status,),
    )
    return (*ANSWERS, too_large)


def _http(deployment: DeploymentSettings, app: AppSettings, hsts_s: int) -> str:
    """Lines for nginx's http block."""
    port = "" if deployment.port == 443 else f":{deployment.port}"
    hsts = f"max-age={hsts_s}" if hsts_s else ""
    return "".join(
        f"{line}\n"
        for line in (
            f"client_max_body_size {app.max_body_bytes};",
            f"proxy_read_timeout {app.wait_cap_s + _AFTER_WAIT_S}s;",
            f"limit_conn by_address {deployment.proxy_connections};",
            f'map "" $https_port_suffix {{ default "{port}"; }}',
            f'map "" $hsts {{ default "{hsts}"; }}',
        )
    )


def _location(answer: Answer) -> str:
    """A named location that gives the answer, and the statuses that lead to it."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(answer.status).phrase,
        "status": answer.status,
        "code": answer.code,
        "detail": answer.detail,
        "request_id": "$request_id",
    }
    headers = {**SECURITY_HEADERS, "X-Request-ID": "$request_id"}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    lines = [f"    default_type {MEDIA_TYPE};"]
    lines += [f'    add_header {name} "{value}" always;' for name, value in headers.items()]
    lines += ["    add_header Strict-Transport-Security $hsts always;"]
    lines += [f"    return {answer.status} '{json.dumps(document)}';"]
    caught = " ".join(map(str, answer.caught))
    pages = f"error_page {caught} = @{answer.code};\n" if caught else ""
    return f"{pages}location @{answer.code} {{\n" + "\n".join(lines) + "\n}\n"
