"""Checks a certificate from its counts alone, without a model and without trusting its issuer.

An audit of counts cannot see whether the counts came from the model named, nor whether another
attempt was thrown away. The audit says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from worker.certification.audited_looks import AuditedLooks, RuleBroken
from worker.certification.certificate import (
    Abstained,
    Certified,
    ReadingAids,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
    rounded_down,
)
from worker.certification.cohen import certify_cohen
from worker.certification.contest import join_routed
from worker.certification.stopping import StoppingRule, StopReason
from worker.certification.tally import Tally

_LARGEST_SIDE = 65_535
_ROUNDED = Decimal("1e-12")  # an attempt's alpha is rounded up to this, and JSON has floats
UNSEEN = (
    "The counts were taken as they stand: that they came from the model and the noise named, only "
    "running it again can show.",
    "That the noise keys belong to the secret committed to, only its holder can show.",
    "Tuning was not repeated: a prompt tuned on the image is certified as it is, however it came.",
    "That no other attempt on this image was thrown away, only the service's own records can show.",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        code: stable name of the check.
        holds: whether the check passed.
        sentence: what was found, in words.
        certificate: index of the certificate within the document, from 0; None where the finding
            is about the whole document.
    """

    code: str
    holds: bool
    sentence: str
    certificate: int | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings of an audit, and what no audit of counts can see."""

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = UNSEEN

    @property
    def holds(self) -> bool:
        """Whether every check passed."""
        return all(finding.holds for finding in self.findings)


class _Wrong(Exception):
    """A check failed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def audit_certificate(document: Mapping[str, Any]) -> Audit:
    """Recomputes every certificate of a document from its counts.

    The audit checks that:
    - the looks are complete from the first to the last, nested, and at the schedule's sizes;
    - the counts add up;
    - the class and the outcome follow from the counts;
    - no radius, bound or reading aid claims more than the counts prove.

    Args:
        document: a finished certification as the service returns it, parsed from JSON.

    Returns:
        All findings, including those that hold. A document that cannot be read gives a single
        finding.
    """
    try:
        certificates = _certificates(document)
        dimension = 3 * _side(document["input"]["height"]) * _side(document["input"]["width"])
        tables = document["provenance"]["table_sha256"]
    except (KeyError, TypeError, _Wrong) as error:
        return Audit(findings=(_unreadable(error, None),))
    findings = [
        finding
        for place, certificate in enumerate(certificates)
        for finding in _audit_one(certificate, place, dimension, tables, len(certificates))
    ]
    keys = _audit_keys(document["provenance"], certificates)
    return Audit(findings=(_audit_agreement(certificates), keys, *findings))


_SHARED = (
    *("alpha", "joint", "certificates_in_request", "procedure"),
    *("attempts", "alpha_of_attempts"),
)


def _audit_agreement(certificates: Sequence[Mapping[str, Any]]) -> Finding:
    """Checks that the certificates agree on alpha, its division, the procedure and the attempts."""
    said = [[certificate.get(name) for name in _SHARED] for certificate in certificates]
    if any(one != said[0] for one in said):
        sentence = "Certificates of one request disagree about alpha, procedure or attempts."
        return Finding(code="agreement", holds=False, sentence=sentence)
    return Finding(code="agreement", holds=True, sentence="All certificates share their terms.")


def _audit_keys(
    provenance: Mapping[str, Any], certificates: Sequence[Mapping[str, Any]]
) -> Finding:
    """Checks that each purpose has its own noise key, so that their samples are independent."""
    keys = provenance.get("noise_keys", {})
    wanted = {"selection", "estimation"}
    if any(certificate.get("adaptation") is not None for certificate in certificates):
        wanted.add("adaptation")
    if not isinstance(keys, Mapping) or set(keys) != wanted:
        sentence = f"The noise keys revealed are not for exactly {sorted(wanted)}."
        return Finding(code="keys", holds=False, sentence=sentence)
    if len(set(keys.values())) != len(keys):
        sentence = "Two purposes share one noise key, so their samples are not independent."
        return Finding(code="keys", holds=False, sentence=sentence)
    return Finding(code="keys", holds=True, sentence="Each purpose has a noise key of its own.")


def _side(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= _LARGEST_SIDE:
        raise _Wrong("unreadable", "the size of the image is not valid")
    return value


def _certificates(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    certificates = document["certificates"]
    if not isinstance(certificates, list) or not certificates:
        raise _Wrong("unreadable", "there are no certificates in this document")
    return certificates


def _unreadable(error: Exception, place: int | None) -> Finding:
    what = str(error) if isinstance(error, _Wrong | ValueError) else f"{error} is missing or wrong"
    sentence = f"The document cannot be read as a certificate: {what}."
    return Finding(code="unreadable", holds=False, sentence=sentence, certificate=place)


def _audit_one(
    certificate: Mapping[str, Any],
    place: int,
    dimension: int,
    tables: Mapping[str, str],
    together: int,
) -> Iterator[Finding]:
    try:
        evidence = _Evidence(certificate, dimension, tables, together)
        for check in (
            evidence.check_parameters,
            evidence.check_counts,
            evidence.check_roots,
            evidence.check_selector,
            evidence.check_stop,
            evidence.check_outcome,
            evidence.check_class,
            evidence.check_radius,
            evidence.check_bounds,
            evidence.check_reading_aids,
        ):
            yield _run(check, place)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        yield _unreadable(error, place)


def _run(check: Callable[[], tuple[str, str]], place: int) -> Finding:
    try:
        code, sentence = check()
    except _Wrong as wrong:
        return Finding(code=wrong.code, holds=False, sentence=str(wrong), certificate=place)
    return Finding(code=code, holds=True, sentence=sentence, certificate=place)


class _Evidence:
    """One certificate's counts and parameters, and what follows from them."""

    def __init__(
        self,
        certificate: Mapping[str, Any],
        dimension: int,
        tables: Mapping[str, str],
        together: int,
    ) -> None:
        self.given = certificate
        self.dimension, self.tables, self.together = dimension, tables, together
        self.sigma = float(certificate["sigma"])
        share = int(certificate["certificates_in_request"]) if certificate["joint"] else 1
        self.routing = certificate.get("routing")
        claims = 1 if self.routing is None else 2  # the selector's claim and the classifier's
        self.alpha = float(certificate["alpha"]) / share / claims
        self.staged = certificate["procedure"] == "staged"
        self.class_names = list(certificate["class_names"])
        self._outcome: Certified | Abstained | None = None
        self._selector: AuditedLooks | None = None

    def check_parameters(self) -> tuple[str, str]:
        """Checks that the procedure is known and that the noise table for this sigma is named."""
        if self.given["procedure"] not in ("staged", "cohen"):
            raise _Wrong("parameters", "the procedure is neither 'staged' nor 'cohen'")
        if (self.given["prompting"] == "routed") != (self.routing is not None):
            raise _Wrong(
                "parameters", "a choice among prompts must come with the prompting 'routed'"
            )
        if self.routing is not None and not self.staged:
            raise _Wrong("parameters", "a routed certificate must use the procedure 'staged'")
        if f"{Decimal(str(self.given['sigma'])).normalize():f}" not in self.tables:
            raise _Wrong("parameters", "the provenance names no noise table for this sigma")
        if int(self.given["certificates_in_request"]) < self.together:
            raise _Wrong("parameters", "alpha was shared among fewer certificates than there are")
        self._require_alpha_of_attempts()
        return "parameters", f"sigma {self.given['sigma']}, alpha {self.alpha:g} each"

    def _require_alpha_of_attempts(self) -> None:
        """Fails if the attempts spent less than this one, or the first one other than itself."""
        if self.given.get("alpha_of_attempts") is None:
            return
        said = Decimal(str(self.given["alpha_of_attempts"]))
        asked = int(self.given["certificates_in_request"]) if self.given["joint"] else 1
        spent = self.together * Decimal(str(self.given["alpha"])) / asked
        if said < spent * (1 - _ROUNDED):
            raise _Wrong("parameters", f"these certificates alone spend an alpha of {spent:g}")
        if self.given["attempts"] == 1 and said > spent + 2 * _ROUNDED:
            raise _Wrong("parameters", f"a first attempt spends its own alpha, {spent:g}")

    def check_counts(self) -> tuple[str, str]:
        """Checks that the counts add up to the schedule's samples, and recomputes the outcome."""
        try:
            outcome = self._looks().outcome if self.staged else self._recompute_cohen()
            if self.routing is not None:
                self._selector = self._audited(self.routing["selector"]["looks"])
                outcome = join_routed(self._selector.outcome, outcome)
        except ValueError as error:
            raise _Wrong("counts", f"the counts do not fit the procedure: {error}") from error
        self._outcome = outcome
        used = self._looks().n_used if self.staged else self.given["n0"] + self.given["n"]
        used = used if self._selector is None else max(used, self._selector.n_used)
        if used != self.given["n_used"]:
            raise _Wrong(
                "counts", f"{used} samples were counted, but n_used is {self.given['n_used']}"
            )
        return "counts", f"{used} samples add up at every look"

    def _looks(self) -> AuditedLooks:
        return self._audited(self.given["looks"])

    def _audited(self, looks: Sequence[Mapping[str, Any]]) -> AuditedLooks:
        return AuditedLooks(looks, self.sigma, self.alpha, self.given["n_max"])

    def check_roots(self) -> tuple[str, str]:
        """Checks that a Merkle root fixes the votes of every phase."""
        phases = {"estimation"} if self.staged else {"selection", "estimation"}
        ballots = [self.given] if self.routing is None else [self.given, self.routing["selector"]]
        if any(set(ballot["votes_root"]) != phases for ballot in ballots):
            raise _Wrong("roots", f"expected one Merkle root for each phase of {sorted(phases)}")
        return "roots", "a Merkle root fixes every vote"

    def check_selector(self) -> tuple[str, str]:
        """Checks that the selector's own looks chose the prompt and prove what it claims."""
        if self.routing is None:
            return "selector", "one prompt, nothing was chosen"
        if self._selector is None:
            raise _Wrong("selector", "the counts do not fit, so nothing can be recomputed")
        said, found = self.routing["selector"], self._selector.outcome
        if len(self._selector.tallies[-1].counts) != len(self.routing["bank"]):
            raise _Wrong("selector", "the selector's votes are not over the prompts of the bank")
        if found.top_class != self.routing["selected_index"]:
            raise _Wrong("selector", "the votes choose a prompt other than the one named")
        if isinstance(found, Certified) != (said["outcome"] == "certified"):
            raise _Wrong("selector", "the selector's counts do not give the outcome stated")
        if isinstance(found, Certified) == (said.get("radius") is None):
            raise _Wrong(
                "selector", "a selector must have a radius if it is certified, and only then"
            )
        if isinstance(found, Certified) and Decimal(str(said["radius"])) > rounded_down(
            found.radius
        ):
            raise _Wrong("selector", "the selector's radius is larger than its counts give")
        self._require_bounds(said, found)
        self._require_rule(self._selector, said)
        return "selector", f"prompt {found.top_class} of the bank has the votes"

    def _require_bounds(self, said: Mapping[str, Any], found: Certified | Abstained) -> None:
        """Fails if a bound claims more than the counts prove."""
        lower = bound_rounded_down(found.p_a_lower)
        upper = bound_rounded_up(found.p_b_upper)
        if Decimal(str(said["p_a_lower"])) > lower:
            raise _Wrong("bounds", f"p_a_lower is above {lower}, the value the counts give")
        if Decimal(str(said["p_b_upper"])) < upper:
            raise _Wrong("bounds", f"p_b_upper is below {upper}, the value the counts give")

    def _recompute_cohen(self) -> Certified | Abstained:
        selection, estimation = self.given["counts_selection"], self.given["counts_estimation"]
        if self.given["n0"] < 1 or self.given["n"] < 1:
            raise ValueError("n0 and n must be at least 1")
        chosen = Tally(counts=tuple(selection), ambiguous=self.given["ambiguous_selection"])
        if chosen.n != self.given["n0"]:
            raise ValueError("the selection counts do not add up to n0")
        if sum(estimation) + self.given["ambiguous"] != self.given["n"]:
            raise ValueError("the estimation counts do not add up to n")
        return certify_cohen(
            selection,
            estimation,
            sigma=self.sigma,
            alpha=self.alpha,
            ambiguous=self.given["ambiguous"],
            ambiguous_selection=chosen.ambiguous,
        )

    @property
    def outcome(self) -> Certified | Abstained:
        if self._outcome is None:
            raise _Wrong("outcome", "the counts do not fit, so nothing can be recomputed")
        return self._outcome

    def check_stop(self) -> tuple[str, str]:
        """Checks that the looks end where the requested rule ends them, so none is left out."""
        if not self.staged:
            return "stop", "all samples that were planned were taken"
        if self._selector is not None and isinstance(self._selector.outcome, Abstained):
            if self.given["stopped_by"] != StopReason.SELECTOR_ABSTAINED:
                raise _Wrong("stop", "no prompt was chosen, but another reason to stop is stated")
            return "stop", "sampling ended because no prompt was chosen"
        self._require_rule(self._looks(), self.given)
        return "stop", f"sampling ended by {self.given['stopped_by']}"

    def _require_rule(self, looks: AuditedLooks, said: Mapping[str, Any]) -> None:
        rule = StoppingRule(
            target_radius=self.given["target_radius"],
            tolerance=float(self.given["tolerance"]),
            minimum_radius=self.given["minimum_radius"],
        )
        try:
            looks.require_rule(rule, said["stopped_by"])
        except RuleBroken as broken:
            raise _Wrong("stop", str(broken)) from broken
        if looks.contradict != said["contradiction"]:
            raise _Wrong("stop", "the contradiction stated does not match the looks")

    def check_outcome(self) -> tuple[str, str]:
        """Checks that the counts give the outcome stated."""
        found = "certified" if isinstance(self.outcome, Certified) else "abstained"
        if found != self.given["outcome"]:
            raise _Wrong("outcome", f"the counts give {found!r}, not the outcome stated")
        return "outcome", f"the counts give {found!r}"

    def check_class(self) -> tuple[str, str]:
        """Checks that the votes choose the class named, in the order of the labels."""
        certified = self.given["outcome"] == "certified"
        index = self.given["class_index" if certified else "closest_class_index"]
        name = self.given["prediction" if certified else "closest_class"]
        votes = (
            len(self._looks().tallies[-1].counts)
            if self.staged
            else len(self.given["counts_estimation"])
        )
        if votes != len(self.class_names):
            raise _Wrong("class", f"{votes} counts for {len(self.class_names)} classes")
        if index != self.outcome.top_class:
            raise _Wrong(
                "class",
                "the votes choose a class other than the one named",
            )
        if self.class_names[index] != name:
            raise _Wrong("class", f"class {index} of the labels is not the class named")
        return "class", f"class {index} has the votes"

    def check_radius(self) -> tuple[str, str]:
        """Checks that the radius does not exceed the recomputed one."""
        if not isinstance(self.outcome, Certified):
            return "radius", "an abstention claims no radius"
        shown, most = Decimal(str(self.given["radius"])), self._aids().radius
        if shown > most:
            raise _Wrong(
                "radius", f"the radius {shown} is larger than {most}, the radius the counts give"
            )
        return "radius", f"the counts give a radius of {most}"

    def _aids(self) -> ReadingAids:
        assert isinstance(self.outcome, Certified)
        return reading_aids(self.outcome.radius, dimension=self.dimension)

    def check_bounds(self) -> tuple[str, str]:
        """Checks that neither bound claims more than the counts prove."""
        self._require_bounds(self.given, self.outcome)
        lower = bound_rounded_down(self.outcome.p_a_lower)
        upper = bound_rounded_up(self.outcome.p_b_upper)
        return "bounds", f"p_a_lower {lower} and p_b_upper {upper} follow from the counts"

    def check_reading_aids(self) -> tuple[str, str]:
        """Checks that no other norm or number of grey levels exceeds what the radius gives."""
        if not isinstance(self.outcome, Certified):
            return "reading_aids", "an abstention has none"
        aids, norms, levels = self._aids(), self.given["norms"], self.given["grey_levels"]
        pairs = (
            (self.given["radius_grey"], aids.radius_grey),
            (norms["l1"], aids.radius),
            (norms["linf"], aids.linf),
            (levels["one_channel_of_one_pixel"], aids.one_channel_levels),
            (levels["one_pixel"], aids.one_pixel_levels),
            (levels["every_pixel"], aids.every_pixel_levels),
        )
        if any(Decimal(str(shown)) > most for shown, most in pairs):
            raise _Wrong(
                "reading_aids", "a norm or a number of grey levels exceeds what the radius gives"
            )
        return "reading_aids", "norms and grey levels follow from the radius"
