"""Every way to forge a document that somebody thought of, and what the audit finds against it."""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from worker.contract.certificate.audit import audit_document
from worker.contract.certificate.document import parse_document
from worker.contract.certificate.signature import create_signing_key, encode_public_key, sign
from worker.sampling.table import create_noise_table

SERVICE, FORGER = b"s" * 32, b"f" * 32
KEY = encode_public_key(create_signing_key(SERVICE).public_key())
OTHER = "0" * 64
Document = dict[str, Any]
Change = Callable[[Document], object]


@dataclass(frozen=True, kw_only=True)
class Forgery:
    """A change of an honest document.

    Attributes:
        code: what the audit finds even where the service itself signed the lie. None: no audit of
            counts can see it, and the signature alone refutes it.
    """

    name: str
    change: Change
    code: str | None
    of: str = "staged"


def find(document: Document, path: str) -> tuple[Any, Any]:
    """What holds the last name of a path like certificates.0.radius, and that name."""
    *parents, last = [int(one) if one.lstrip("-").isdigit() else one for one in path.split(".")]
    place: Any = document
    for one in parents:
        place = place[one]
    return place, last


def put(path: str, value: Any) -> Change:
    def change(document: Document) -> None:
        place, last = find(document, path)
        place[last] = value(place[last]) if callable(value) else value

    return change


def drop(path: str) -> Change:
    def change(document: Document) -> None:
        place, last = find(document, path)
        del place[last]

    return change


def put_in_all(name: str, value: Any) -> Change:
    def change(document: Document) -> None:
        for entry in document["certificates"]:
            entry[name] = value

    return change


def up(value: float) -> float:
    return value + 1e-6


def down(value: float) -> float:
    return value - 1e-3


def one_more(value: int) -> int:
    return value + 1


def flip(text: str) -> str:
    """The same base64 but for its first bit."""
    data = bytearray(base64.b64decode(text))
    data[0] ^= 1
    return base64.b64encode(data).decode()


def all_of(*changes: Change) -> Change:
    def change(document: Document) -> None:
        for one in changes:
            one(document)

    return change


def raise_sigma(document: Document) -> None:
    put("certificates.0.sigma", 0.03)(document)
    document["provenance"]["table_sha256"]["0.03"] = OTHER


def lower_sigma(document: Document) -> None:
    put("certificates.0.sigma", 0.01)(document)
    document["provenance"]["table_sha256"]["0.01"] = OTHER


def drop_last_look(document: Document) -> None:
    """With the number of samples that are left."""
    entry = document["certificates"][0]
    del entry["looks"][-1]
    entry["n_used"] = entry["looks"][-1]["n"]


def claim_from_the_first_look(document: Document) -> None:
    entry = document["certificates"][0]
    entry["looks"] = entry["looks"][:1]
    entry |= {"n_used": entry["looks"][0]["n"], "stopped_by": "tolerance_reached"}


def repeat_last_look(document: Document) -> None:
    looks = document["certificates"][0]["looks"]
    looks.append(copy.deepcopy(looks[-1]))


def swap_looks(document: Document) -> None:
    looks = document["certificates"][0]["looks"]
    looks[0], looks[1] = looks[1], looks[0]


def move_votes(document: Document) -> None:
    """Between the classes of the last look, towards the one that is claimed."""
    entry = document["certificates"][1]
    counts = entry["looks"][-1]["counts"]
    most = counts.index(max(counts))
    counts[1 - most], counts[most] = 0, sum(counts)


def claim_instead_of_abstaining(document: Document) -> None:
    claim, abstention = document["certificates"]
    for name in ("radius", "radius_grey", "norms", "grey_levels", "prediction", "class_index"):
        abstention[name] = claim[name]
    abstention["outcome"] = "certified"
    del abstention["closest_class"], abstention["closest_class_index"]


def abstain_instead_of_claiming(document: Document) -> None:
    claim = document["certificates"][0]
    claim |= {"closest_class": claim["prediction"], "closest_class_index": claim["class_index"]}
    for name in ("radius", "radius_grey", "norms", "grey_levels", "prediction", "class_index"):
        del claim[name]
    claim["outcome"] = "abstained"


def name_the_other_class(document: Document) -> None:
    entry = document["certificates"][0]
    entry["prediction"] = entry["class_names"][1 - entry["class_index"]]


def rename_the_class(document: Document) -> None:
    entry = document["certificates"][0]
    entry["class_names"][entry["class_index"]] = "benign"


def drop_a_table(document: Document) -> None:
    del document["provenance"]["table_sha256"]["10"]


def swap_statements(document: Document) -> None:
    one, other = document["certificates"]
    one["statement"], other["statement"] = other["statement"], one["statement"]


def leave_one_certificate_out(document: Document) -> None:
    del document["certificates"][1]


def show_one_certificate_twice(document: Document) -> None:
    document["certificates"].append(copy.deepcopy(document["certificates"][0]))


def share_a_noise_key(document: Document) -> None:
    keys = document["provenance"]["noise_keys"]
    keys["selection"] = keys["estimation"]


def disagree(document: Document) -> None:
    """Says that hosts disagreed on samples that are counted as votes."""
    one = {"sigma": 0.02, "phase": "estimation", "ballot": 0, "sample": 3}
    document["provenance"]["disagreements"] = [one]


def drop_routing(document: Document) -> None:
    del document["certificates"][0]["routing"]


FORGERIES = (
    # The class
    Forgery(
        name="class order",
        change=put("certificates.0.class_names", lambda n: n[::-1]),
        code="class",
    ),
    Forgery(name="prediction", change=name_the_other_class, code="class"),
    Forgery(
        name="class index", change=put("certificates.0.class_index", lambda i: 1 - i), code="class"
    ),
    Forgery(
        name="class that came closest",
        change=put("certificates.1.closest_class_index", lambda i: 1 - i),
        code="class",
    ),
    Forgery(name="class renamed", change=rename_the_class, code="class"),
    Forgery(name="abstention as a claim", change=claim_instead_of_abstaining, code="outcome"),
    Forgery(name="claim as an abstention", change=abstain_instead_of_claiming, code="outcome"),
    # The radius and its reading aids
    Forgery(name="radius", change=put("certificates.0.radius", up), code="radius"),
    Forgery(
        name="radius, cohen", of="cohen", change=put("certificates.0.radius", up), code="radius"
    ),
    Forgery(
        name="radius in grey", change=put("certificates.0.radius_grey", up), code="reading_aids"
    ),
    Forgery(name="l1", change=put("certificates.0.norms.l1", up), code="reading_aids"),
    Forgery(name="linf", change=put("certificates.0.norms.linf", up), code="reading_aids"),
    *(
        Forgery(
            name=f"grey levels, {where}",
            change=put(f"certificates.0.grey_levels.{where}", up),
            code="reading_aids",
        )
        for where in ("one_channel_of_one_pixel", "one_pixel", "every_pixel")
    ),
    Forgery(name="p_a_lower", change=put("certificates.0.p_a_lower", up), code="bounds"),
    Forgery(name="p_b_upper", change=put("certificates.1.p_b_upper", down), code="bounds"),
    # What was fixed before the noise
    Forgery(name="sigma raised", change=raise_sigma, code="tables"),
    Forgery(name="sigma lowered", change=lower_sigma, code="radius"),
    Forgery(name="alpha lowered", change=put_in_all("alpha", 1e-6), code="bounds"),
    Forgery(name="alpha raised", change=put_in_all("alpha", 0.01), code="statement"),
    Forgery(name="alpha of one", change=put("certificates.1.alpha", 0.002), code="agreement"),
    Forgery(name="share: joint", change=put_in_all("joint", True), code="bounds"),
    Forgery(
        name="share: not joint", of="joint", change=put_in_all("joint", False), code="statement"
    ),
    Forgery(
        name="share: among one",
        of="joint",
        change=put_in_all("certificates_in_request", 1),
        code="parameters",
    ),
    Forgery(
        name="multiplicity hidden",
        change=put_in_all("certificates_in_request", 1),
        code="parameters",
    ),
    Forgery(
        name="multiplicity raised",
        change=put_in_all("certificates_in_request", 3),
        code="statement",
    ),
    Forgery(name="n_max raised", change=put_in_all("n_max", 2000), code="counts"),
    Forgery(name="n_max lowered", change=put_in_all("n_max", 512), code="counts"),
    Forgery(name="tolerance", change=put("certificates.0.tolerance", 0.99), code="stop"),
    Forgery(name="target", change=put("certificates.0.target_radius", 0.0001), code="stop"),
    Forgery(name="procedure", change=put("certificates.0.procedure", "cohen"), code="schema"),
    # The counts
    Forgery(name="first look removed", change=drop("certificates.0.looks.0"), code="counts"),
    Forgery(name="middle look removed", change=drop("certificates.0.looks.2"), code="counts"),
    Forgery(name="last look removed", change=drop("certificates.0.looks.-1"), code="counts"),
    Forgery(name="last look removed and n_used", change=drop_last_look, code="stop"),
    Forgery(name="all but the first look", change=claim_from_the_first_look, code="stop"),
    Forgery(name="look repeated", change=repeat_last_look, code="counts"),
    Forgery(name="looks swapped", change=swap_looks, code="counts"),
    Forgery(
        name="count of a look",
        change=put("certificates.0.looks.1.counts.0", one_more),
        code="counts",
    ),
    Forgery(
        name="ambiguous of a look",
        change=put("certificates.0.looks.1.ambiguous", one_more),
        code="counts",
    ),
    Forgery(name="votes moved", change=move_votes, code="outcome"),
    Forgery(name="n_used", change=put("certificates.0.n_used", one_more), code="counts"),
    Forgery(
        name="count of cohen",
        of="cohen",
        change=put("certificates.0.counts_estimation.0", one_more),
        code="counts",
    ),
    Forgery(
        name="count that chose, cohen",
        of="cohen",
        change=put("certificates.0.counts_selection.0", one_more),
        code="counts",
    ),
    Forgery(name="n0 of cohen", of="cohen", change=put("certificates.0.n0", 40), code="counts"),
    Forgery(name="n of cohen", of="cohen", change=put("certificates.0.n", 500), code="counts"),
    # Why it ended
    Forgery(
        name="stop reason", change=put("certificates.0.stopped_by", "target_reached"), code="stop"
    ),
    Forgery(name="contradiction", change=put("certificates.0.contradiction", True), code="stop"),
    # Scope, statement, attempts
    Forgery(
        name="scope",
        change=put("certificates.0.guarantee_scope", "routed_pipeline"),
        code="schema",
    ),
    Forgery(name="prompting", change=put("certificates.0.prompting", "few-shot"), code="schema"),
    Forgery(
        name="learned on this image",
        change=put("certificates.0.learned_on_this_image", True),
        code="schema",
    ),
    Forgery(name="statement", change=put("certificates.0.statement", "Certain."), code="statement"),
    Forgery(name="statements swapped", change=swap_statements, code="statement"),
    Forgery(
        name="sentence left out",
        change=put("certificates.0.statement", lambda s: s.replace("Research use only.", "")),
        code="statement",
    ),
    Forgery(name="attempts", change=put_in_all("attempts", 7), code="statement"),
    Forgery(name="attempts of one", change=put("certificates.1.attempts", 2), code="agreement"),
    Forgery(
        name="alpha of attempts", change=put_in_all("alpha_of_attempts", 1e-4), code="parameters"
    ),
    Forgery(
        name="alpha of attempts of one",
        change=put("certificates.1.alpha_of_attempts", 0.02),
        code="agreement",
    ),
    Forgery(name="certificate left out", change=leave_one_certificate_out, code="parameters"),
    Forgery(name="certificate twice", change=show_one_certificate_twice, code="parameters"),
    # What ran
    Forgery(name="model digest", change=put("model.sha256", OTHER), code=None),
    Forgery(name="model id", change=put("model.id", "other"), code=None),
    Forgery(name="input digest", change=put("input.sha256", OTHER), code=None),
    Forgery(name="input height", change=put("input.height", 1), code="statement"),
    Forgery(name="fingerprint", change=put("provenance.fingerprint", OTHER), code=None),
    Forgery(name="fingerprint left out", change=drop("provenance.fingerprint"), code=None),
    Forgery(name="tau", change=put("provenance.tau", 0.5), code=None),
    Forgery(name="precision", change=put("provenance.precision", "fp64"), code=None),
    Forgery(name="template", change=put("certificates.0.template", "An {}."), code=None),
    Forgery(
        name="votes' root", change=put("certificates.0.votes_root.estimation", OTHER), code=None
    ),
    Forgery(name="votes' root left out", change=put("certificates.0.votes_root", {}), code="roots"),
    Forgery(name="noise key", change=put("provenance.noise_keys.estimation", "1" * 32), code=None),
    Forgery(name="noise key shared", change=share_a_noise_key, code="keys"),
    Forgery(name="noise key left out", change=drop("provenance.noise_keys.selection"), code="keys"),
    Forgery(name="key commitment", change=put("provenance.key_commitment", OTHER), code=None),
    Forgery(
        name="noise table", change=put("provenance.table_sha256", {"0.02": OTHER}), code="tables"
    ),
    Forgery(name="noise table left out", change=drop_a_table, code="parameters"),
    Forgery(name="sampler", change=put("provenance.sampler", "torch.randn"), code="schema"),
    Forgery(name="disagreements", change=disagree, code="disagreements"),
    Forgery(name="version", change=put("schema_version", 1), code="statement"),
    Forgery(name="research use", change=put("research_use_only", False), code="schema"),
    # The choice of a prompt
    Forgery(
        name="selector's first look",
        of="routed",
        change=drop("certificates.0.routing.selector.looks.0"),
        code="counts",
    ),
    Forgery(
        name="selector's count",
        of="routed",
        change=put("certificates.0.routing.selector.looks.0.counts.0", one_more),
        code="counts",
    ),
    Forgery(
        name="selector's choice",
        of="routed",
        change=put("certificates.0.routing.selected_index", lambda i: 1 - i),
        code="selector",
    ),
    Forgery(
        name="selector's bound",
        of="routed",
        change=put("certificates.0.routing.selector.p_a_lower", up),
        code="bounds",
    ),
    Forgery(
        name="selector's outcome",
        of="routed",
        change=put(
            "certificates.0.routing.selector.outcome",
            lambda said: {"certified": "abstained", "abstained": "certified"}[said],
        ),
        code="selector",
    ),
    Forgery(
        name="selector's stop reason",
        of="routed",
        change=put("certificates.0.routing.selector.stopped_by", "target_reached"),
        code="stop",
    ),
    Forgery(
        name="selector's bank",
        of="routed",
        change=put("certificates.0.routing.bank.0.template", "An {}."),
        code=None,
    ),
    Forgery(name="selector left out", of="routed", change=drop_routing, code="schema"),
    # More samples later
    Forgery(name="cap left out", of="capped", change=put_in_all("n_cap", None), code="counts"),
    Forgery(name="cap lowered", of="capped", change=put_in_all("n_cap", 512), code="statement"),
    Forgery(name="cap raised", of="capped", change=put_in_all("n_cap", 2048), code="bounds"),
    Forgery(name="continuations", of="capped", change=put_in_all("continuations", 1), code="stop"),
    Forgery(
        name="continuation that is not there",
        of="capped",
        change=put_in_all("continuations", 9),
        code="stop",
    ),
    Forgery(
        name="continuations of one",
        of="capped",
        change=put("certificates.0.continuations", 3),
        code="agreement",
    ),
)


def audited(document: Document) -> set[str]:
    """The codes of what fails, as the command line audits it, with the service's key."""
    report = audit_document(document, (KEY,), lambda sigma: create_noise_table(sigma).sha256)
    failing = {finding.code for finding in report.findings if not finding.holds}
    assert report.holds == (not failing)
    assert report.verdict.startswith("DOES NOT HOLD" if failing else "HOLDS")
    return failing


def sign_again(document: Document, secret: bytes) -> Document:
    """What the holder of a secret would sign; as it is where it is no document at all."""
    try:
        result = parse_document(document)
    except ValueError:
        return document
    signed: Document = json.loads(sign(result, secret).model_dump_json())
    return signed


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forged_document_is_refuted(every_kind, forgery):
    document = copy.deepcopy(every_kind[forgery.of])
    forgery.change(document)
    assert document != every_kind[forgery.of]
    assert audited(document) & {"signature", "schema"}
    assert audited(sign_again(document, FORGER)) & {"signature", "schema"}
    found = audited(sign_again(document, SERVICE))
    assert found == set() if forgery.code is None else forgery.code in found


def test_each_kind_of_document_is_honest_before_it_is_forged(every_kind):
    assert {forgery.of for forgery in FORGERIES} == set(every_kind)
    assert [audited(document) for document in every_kind.values()] == [set()] * len(every_kind)


@pytest.mark.parametrize(
    "change",
    [
        put("signature", None),
        drop("signature"),
        put("signature.value", flip),
        put("signature.public_key", flip),
        put("signature.value", base64.b64encode(bytes(64)).decode()),
    ],
    ids=["none", "left out", "value", "key", "zeros"],
)
def test_a_document_whose_signature_is_off_is_refuted(every_kind, change):
    document = copy.deepcopy(every_kind["staged"])
    change(document)
    assert "signature" in audited(document)
