"""Writes the files that are generated from the code: python -m app.publish [--check].

These are the JSON schema of a certificate document (for people who audit certificates with their
own programs), the OpenAPI document, the table of access scopes, the table of settings, the same
settings as `.env.example`, and tables within pages that people write.
"""

import json
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

from pydantic import SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.deployment.settings import DeploymentSettings
from app.deployment.variables import name_variable
from app.dicom.settings import DicomSettings
from app.main import create_app
from app.server.access.routes import list_access
from app.server.access.sign_on.configuration import SignOnSettings
from app.settings import AppSettings, Quotas
from worker.contract.certificate.document import FinishedResult
from worker.settings import SharedSettings, WorkerSettings

DOCS = Path(__file__).parent.parent / "docs"


def certificate_schema() -> str:
    """The schema of a finished result."""
    schema = TypeAdapter(FinishedResult).json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_SHARED = frozenset(SharedSettings.model_fields)
_Group = tuple[str, type[BaseSettings], frozenset[str]]
_GROUPS: tuple[_Group, ...] = (
    ("App and worker", SharedSettings, frozenset()),
    ("App", AppSettings, _SHARED),
    ("Worker", WorkerSettings, _SHARED),
    ("Containers", DeploymentSettings, frozenset()),
    ("DICOM node", DicomSettings, frozenset()),
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
        "PROMPTSMOOTH_EVALUATIONS",
        "PROMPTSMOOTH_DATASETS",
        "PROMPTSMOOTH_PUBLISHED_ON",
        "PROMPTSMOOTH_BEHIND_PROXY",
        "PROMPTSMOOTH_ENGINE_SOCKET",
        "PROMPTSMOOTH_DICOM_SERVER",
        "PROMPTSMOOTH_DICOM_API_KEY_FILE",
        "PROMPTSMOOTH_DICOM_ALLOW_PLAIN_HTTP",
        "PROMPTSMOOTH_DICOM_RULES",
        "PROMPTSMOOTH_DICOM_SPOOL",
        "PROMPTSMOOTH_DICOM_AUDIT_LOG",
        "PROMPTSMOOTH_DICOM_BIND",
        "PROMPTSMOOTH_DICOM_PORT",
        "PROMPTSMOOTH_DICOM_METRICS_BIND",
        "PROMPTSMOOTH_DICOM_METRICS_PORT",
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
            f"| `{name_variable(settings, name)}` | {_default(field)} | {field.description} |"
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
            variable = name_variable(settings, name)
            if name not in left_out and variable not in COMPOSED:
                lines += ["", *_comment(field.description or "")]
                lines += [f"#{variable}={_default(field).strip('`')}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(f"# {text}", 98, subsequent_indent="# ", break_on_hyphens=False)


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


_PAPER = ("0.1", "0.25", "0.5", "1")  # the noise levels of Cohen et al. (2019)
_SIDES = (64, 224, 448)
# What is changed, how many pixels of a square image of that side, and by how much of [0, 1].
_CHANGES: tuple[tuple[str, Callable[[int], float], float], ...] = (
    ("one grey level in every pixel", lambda side: side**2, 1 / 255),
    ("one grey level in a quarter of the pixels", lambda side: side**2 / 4, 1 / 255),
    ("ten grey levels in a patch of 16 × 16", lambda _: 16**2, 10 / 255),
    ("one pixel from black to white", lambda _: 1, 1.0),
)


def distances_table() -> str:
    """Changes of an image, their l2 distance, and the noise level to start with for each."""
    lines = [
        "| the change you care about | image | l2 distance | sigma to start with "
        "| noisy copies that must agree |",
        "|---|---|---|---|---|",
    ]
    for name, count_pixels, change in _CHANGES:
        distances = {side: math.sqrt(3 * count_pixels(side)) * change for side in _SIDES}
        same = len(set(distances.values())) == 1
        for side, distance in list(distances.items())[: 1 if same else None]:
            sigma = choose_sigma(distance)
            share = math.ceil(1000 * NormalDist().cdf(distance / float(sigma))) / 10
            size = "any" if same else f"{side} × {side}"
            cells = (name, size, f"{distance:.2f}", sigma, f"more than {share:.1f} %")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def choose_sigma(distance: float) -> str:
    """The largest usual noise level that is no larger than the distance, else the smallest."""
    return next((one for one in reversed(_PAPER) if float(one) <= distance), _PAPER[0])


def put_table(page: str, name: str, table: str) -> str:
    """The page with the table between its two marks.

    Raises:
        ValueError: the page does not have the marks.
    """
    begin, end = f"<!-- {name}: written by python -m app.publish -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page has no table {name}")
    return f"{before}{begin}{table}{end}{after}"


def choosing_page() -> str:
    """docs/choosing.md with its table of distances."""
    page = (DOCS / "choosing.md").read_text(encoding="utf-8")
    return put_table(page, "distances", distances_table())


def sign_on_page() -> str:
    """docs/sign-on.md with the table of the fields of its file."""
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for name, field in SignOnSettings.model_fields.items():
        default = "" if field.is_required() else _say(field.default)
        lines.append(f"| `{name}` | {default} | {field.description} |")
    page = (DOCS / "sign-on.md").read_text(encoding="utf-8")
    return put_table(page, "fields", "\n".join(lines) + "\n")


def _say(value: object) -> str:
    """A default of a TOML file; nothing where it has none to write."""
    if isinstance(value, Quotas):
        value = ", ".join(
            f"{name} = {n}" for name, n in value.model_dump(exclude_none=True).items()
        )
    return f"`{value}`" if value else ""


FILES: dict[str, Callable[[], str]] = {
    "certificate.schema.json": certificate_schema,
    "openapi.json": openapi_document,
    "settings.md": settings_table,
    "access.md": access_table,
    "choosing.md": choosing_page,
    "sign-on.md": sign_on_page,
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
