"""Fields of POST /certify with values that nobody should send, as forms and as JSON."""

import json
from collections.abc import Iterator

from hostile.shapes import Shape, create_form

NUMBERS = ("sigma", "alpha", "target_radius", "minimum_radius", "tolerance")
COUNTS = ("n_max", "n_cap", "n", "n0", "attempt", "frame")
NAMES = ("model", "prompt", "prompting", "procedure", "class_name", "template", "targets")
OTHERS = ("window", "joint", "priority", "callback_url")
ODD = (
    *("", " ", "nan", "-inf", "1e999", "-1", "0x10", "1_000", "1,5", "9" * 5000, "٣", "None"),
    *("true", "[]", "{}", '[{"template":"{}"}]', "a\0b", "\u202eabc", "\ud7ff\ufffe", "%s%n{0.a}"),
    *("../../etc/passwd", "' OR 1=1 --", "=cmd()", "<script>", "http://169.254.169.254/"),
)
ODD_JSON: tuple[object, ...] = (None, True, -1, 1e308, 10**400, [], [[]], {}, {"a": []}, [None])


def create_odd_fields(png: bytes) -> Iterator[Shape]:
    """Each field with each odd value, once as a form and once as JSON."""
    for field in NUMBERS + COUNTS + NAMES + OTHERS:
        for value in ODD:
            others = [] if field == "sigma" else [(b"sigma", b"0.25")]
            fields = [*others, (field.encode(), value.encode())]
            kind, body = create_form(fields, [(b"image", png)])
            yield Shape(name=f"{field}={value[:20]!r}", path="/certify", kind=kind, body=body)
        for odd in ODD_JSON:
            document = {"image": ["AAAA"], "sigma": ["0.25"], field: odd}
            text = json.dumps(document).encode()
            name = f"{field}: {str(odd)[:20]}"
            yield Shape(name=name, path="/certify/json", kind="application/json", body=text)
