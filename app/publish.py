"""Writes the files that are generated from the code: python -m app.publish [--check].

These are the JSON schema of a certificate document (for people who audit certificates with their
own programs), the OpenAPI document, the table of access scopes, the table of settings, and the same
settings as `.env.example`.
"""

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.deployment.settings import DeploymentSettings
from app.main import create_app
from app.server.access.routes import list_access
from app.settings import AppSettings
from worker.contract.certificate.document import FinishedResult
from worker.settings import SharedSettings, WorkerSettings

DOCS = Path(__file__).parent.parent / "docs"


def certificate_schema() -> str:
    """The schema of a finished result."""
    schema = TypeAdapter(FinishedResult).json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_SHARED = frozenset(SharedSettings.model_fields)
_GROUPS: tuple[tuple[str, type[BaseSettings], frozenset[str]], ...] = (
    ("App and worker", SharedSettings, frozenset()),
    ("App", AppSettings, _SHARED),
    ("Worker", WorkerSettings, _SHARED),
    ("Containers", DeploymentSettings, frozenset()),
)
# Settings that docker-compose.yml sets itself.
COMPOSED = frozenset(
    {
        "REDIS_URL",
        "PROMPTSMOOTH_REDIS_PASSWORD_FILE",
        "PROMPTSMOOTH_MODELS",
        "PROMPTSMOOTH_PROMPTS",
        "PROMPTSMOOTH_DATA_DIR",
        "PROMPTSMOOTH_KEYS_FILE",
        "PROMPTSMOOTH_AUDIT_LOG",
        "PROMPTSMOOTH_PUBLISHED_ON",
        "PROMPTSMOOTH_BEHIND_PROXY",
        "PROMPTSMOOTH_ENGINE_SOCKET",
    }
)


def settings_table() -> str:
    """Every setting of app, worker and containers, with its default and its meaning."""
    lines = [
        "# Settings",
        "",
        "Read from the environment once, at start. Lists are JSON. This page is written by",
        "`python -m app.publish`.",
    ]
    for title, settings, left_out in _GROUPS:
        lines += ["", f"## {title}", "", "| name | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{_name(name, field)}` | {_default(field)} | {field.description} |"
            for name, field in settings.model_fields.items()
            if name not in left_out
        ]
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """Every setting that a `.env` beside docker-compose.yml may hold, with its default."""
    lines = [
        "# Settings of a deployment in containers: copy it to .env and uncomment the settings",
        "# you want to change. All are optional. Lists are JSON. Written by python -m app.publish.",
    ]
    for title, settings, left_out in _GROUPS:
        lines += ["", f"# {title}"]
        for name, field in settings.model_fields.items():
            if name not in left_out and _name(name, field) not in COMPOSED:
                lines += ["", *_comment(field.description or "")]
                lines += [f"#{_name(name, field)}={_default(field).strip('`')}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(f"# {text}", 98, subsequent_indent="# ", break_on_hyphens=False)


def _name(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or f"PROMPTSMOOTH_{name.upper()}")


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.local/share/promptsmooth`"
    value = field.default
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{json.dumps(value)}`" if isinstance(value, tuple) else f"`{value}`"


def access_table() -> str:
    """Every route and the scope that a key needs for it."""
    lines = [
        "# What a key needs for what",
        "",
        "Read from the routes. What scopes are: [security.md](security.md). This page is written",
        "by `python -m app.publish`.",
        "",
        "| method | address | scope |",
        "|---|---|---|",
    ]
    access = list_access(create_app(AppSettings()).routes)
    lines += [
        f"| {each.method} | `{each.path}` | {each.scope or ('none' if each.is_public else '')} |"
        for each in sorted(access, key=lambda each: (each.path, each.method))
    ]
    return "\n".join(lines) + "\n"


def openapi_document() -> str:
    """The OpenAPI document, as GET /openapi.json answers it."""
    return json.dumps(create_app(AppSettings()).openapi(), indent=1, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[], str]] = {
    "certificate.schema.json": certificate_schema,
    "openapi.json": openapi_document,
    "settings.md": settings_table,
    "access.md": access_table,
    "../.env.example": env_example,
}


def main() -> int:
    """Writes the files. With --check, reports files that differ from the code instead."""
    stale = []
    for name, create in FILES.items():
        path, text = DOCS / name, create()
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: out of date; run python -m app.publish\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
