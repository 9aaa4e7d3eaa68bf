"""Writes what is published beside the code: python -m app.publish [--check].

The JSON schema of a certificate document, for who audits certificates with programs of their own.
"""

import json
import sys
from pathlib import Path

from pydantic import TypeAdapter

from worker.document import FinishedResult

SCHEMA = Path(__file__).parent.parent / "docs" / "certificate.schema.json"


def certificate_schema() -> str:
    """The schema of a finished result, as its file holds it."""
    schema = TypeAdapter(FinishedResult).json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes the file, or with --check says whether it is as the code would write it."""
    if "--check" not in sys.argv[1:]:
        SCHEMA.write_text(certificate_schema(), encoding="utf-8")
        return 0
    if SCHEMA.read_text(encoding="utf-8") == certificate_schema():
        return 0
    sys.stderr.write(f"{SCHEMA.name} is not what the code says: run python -m app.publish\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
