"""Addresses of webhooks: one grammar, and which of them an operator allows."""

import pytest

from app.request.callback import MAX_CHARACTERS, parse_callback, parse_pattern


@pytest.mark.parametrize(
    ("text", "origin", "target"),
    [
        ("https://ris.example", "https://ris.example:443", "/"),
        ("HTTPS://RIS.Example/Hooks", "https://ris.example:443", "/Hooks"),
        ("http://10.1.2.3:8080/a/b?c=%20d", "http://10.1.2.3:8080", "/a/b?c=%20d"),
        ("https://ris.example?token=a@b", "https://ris.example:443", "/?token=a@b"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443", "/"),
    ],
)
def test_an_address_is_read_into_the_parts_that_are_connected_to(text, origin, target):
    found = parse_callback(text)
    assert (str(found.origin), found.target) == (origin, target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ris.example",
        "//ris.example/",
        "ftp://ris.example/",
        "https://",
        "https://user@ris.example/",
        "https://ris.example@evil.example/",
        "https://evil.example#@ris.example/",
        "https://ris.example\\@evil.example/",
        "https://ris.example/a b",
        "https://ris.example/\r\nX: y",
        "https://ris.example:0/",
        "https://ris.example:65536/",
        "https://ris.example:443:443/",
        "https://-ris.example/",
        "https://ris..example/",
        "https://ris.example./",
        "https://ris_example/",
        "https://räntgen.example/",
        "https://*.ris.example/",
        "https://ris.example/" + "a" * MAX_CHARACTERS,
    ],
)
def test_what_two_parsers_could_read_differently_is_no_address(text):
    with pytest.raises(ValueError, match="expected"):
        parse_callback(text)


@pytest.mark.parametrize(
    ("pattern", "text", "covered"),
    [
        ("https://ris.example", "https://ris.example:443/x", True),
        ("https://ris.example", "http://ris.example/", False),
        ("https://ris.example", "https://ris.example:8443/", False),
        ("https://ris.example", "https://ris.example.evil/", False),
        ("https://ris.example", "https://a.ris.example/", False),
        ("https://*.ris.example", "https://a.ris.example/", True),
        ("https://*.ris.example", "https://a.b.ris.example/", True),
        ("https://*.ris.example", "https://ris.example/", False),
        ("https://*.ris.example", "https://evilris.example/", False),
        ("http://10.1.2.3:8080", "http://10.1.2.3:8080/", True),
        ("http://127.0.0.1", "http://127.1/", False),
    ],
)
def test_a_pattern_covers_its_origin_alone(pattern, text, covered):
    assert parse_pattern(pattern).covers(parse_callback(text).origin) == covered


@pytest.mark.parametrize(
    "text", ["*", "https://*", "ris.example", "https://a.*.example", "https://x/y"]
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="expected origins like"):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://RIS.example/hooks", "ris.example"),
        ("https://ris.example:443/", "ris.example"),
        ("http://ris.example:443/", "ris.example:443"),
        ("http://[FD00::1]:9000/", "[fd00::1]:9000"),
        ("http://[fd00::1]/", "[fd00::1]"),
    ],
)
def test_the_host_header_has_brackets_and_no_usual_port(url: str, authority: str) -> None:
    assert parse_callback(url).origin.authority == authority
