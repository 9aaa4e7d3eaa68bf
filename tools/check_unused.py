"""Finds functions, methods, classes, properties and imports that no program here uses.

`make check` calls it. A test is no user: code that only tests call belongs to the tests. vulture
goes by name, so it misses code whose name something else also has.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("app", "worker", "models", "benchmarks", "examples", "docs", "tools")
KINDS = ("function", "method", "class", "property", "import")
DECORATORS = ["@*.get", "@*.post", "@*.delete", "@*.command", "@*_validator"]  # called by a library
ALLOWED = (
    "forward",  # torch calls it
    "handle_starttag handle_endtag handle_data",  # html.parser calls them
    "do_POST log_message",  # http.server calls them
    "send_400_response create_process",  # uvicorn calls them
    "on_end _get_form",  # Starlette calls them
    "*_callback dequeue_timeout get_heartbeat_ttl handle_exception",  # RQ reads them
    "_handle_stopped_job _shutdown lmove push_job_id",
    "certify_image count_ranges",  # RQ finds tasks by name
    "create_linear_model write_linear_model",  # models.testing is for tests, our users' included
    "cancel_batch input_image noisy_image prompt_values",  # integrators call app.client
    "changed_image yardsticks",
    "import_prompt remove_prompt cancel_prompt_job",
    "estimate_evaluation evaluation evaluation_images evaluation_results",
    "list_codes",  # tests compare docs/errors.md and the OpenAPI document with it
)


def find_unused(paths: Iterable[Path]) -> Iterator[str]:
    """Where each piece of code stands that nothing in these files and folders uses."""
    names = [name for group in ALLOWED for name in group.split()]
    vulture = Vulture(ignore_names=names, ignore_decorators=DECORATORS)
    vulture.scavenge([str(path) for path in paths], exclude=["*/vendor/*"])
    for item in vulture.get_unused_code():
        if item.typ in KINDS:
            yield f"{item.filename}:{item.first_lineno}: {item.typ} {item.name} has no user"


if __name__ == "__main__":
    faults = list(find_unused(ROOT / name for name in PROGRAMS))
    print(*faults, sep="\n", end="\n" * bool(faults))
    sys.exit(bool(faults))
