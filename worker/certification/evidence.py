"""One certificate's counts, and whether what it says follows from them (CERTIFICATE 1 to 3)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
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

_ROUNDED = Decimal("1e-12")  # an attempt's alpha is rounded up to this, and JSON has floats


class Wrong(Exception):
    """A check failed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Evidence:
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
            raise Wrong("parameters", "the procedure is neither 'staged' nor 'cohen'")
        if (self.given["prompting"] == "routed") != (self.routing is not None):
            raise Wrong(
                "parameters", "a choice among prompts must come with the prompting 'routed'"
            )
        if self.routing is not None and not self.staged:
            raise Wrong("parameters", "a routed certificate must use the procedure 'staged'")
        if f"{Decimal(str(self.given['sigma'])).normalize():f}" not in self.tables:
            raise Wrong("parameters", "the provenance names no noise table for this sigma")
        if int(self.given["certificates_in_request"]) < self.together:
            raise Wrong("parameters", "alpha was shared among fewer certificates than there are")
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
            raise Wrong("parameters", f"these certificates alone spend an alpha of {spent:g}")
        if self.given["attempts"] == 1 and said > spent + 2 * _ROUNDED:
            raise Wrong("parameters", f"a first attempt spends its own alpha, {spent:g}")

    def check_counts(self) -> tuple[str, str]:
        """Checks that the counts add up to the schedule's samples, and recomputes the outcome."""
        try:
            outcome = self._looks.outcome if self.staged else self._recompute_cohen()
            if self.routing is not None:
                self._selector = self._audited(self.routing["selector"]["looks"])
                outcome = join_routed(self._selector.outcome, outcome)
        except ValueError as error:
            raise Wrong("counts", f"the counts do not fit the procedure: {error}") from error
        self._outcome = outcome
        used = self._looks.n_used if self.staged else self.given["n0"] + self.given["n"]
        used = used if self._selector is None else max(used, self._selector.n_used)
        if used != self.given["n_used"]:
            raise Wrong(
                "counts", f"{used} samples were counted, but n_used is {self.given['n_used']}"
            )
        return "counts", f"{used} samples add up at every look"

    @cached_property
    def _looks(self) -> AuditedLooks:
        return self._audited(self.given["looks"])

    def _audited(self, looks: Sequence[Mapping[str, Any]]) -> AuditedLooks:
        return AuditedLooks(
            looks,
            self.sigma,
            self.alpha,
            self.given["n_max"],
            self.given.get("n_cap"),
            self.given.get("continuations") or 0,
        )

    def check_roots(self) -> tuple[str, str]:
        """Checks that a Merkle root fixes the votes of every phase."""
        phases = {"estimation"} if self.staged else {"selection", "estimation"}
        ballots = [self.given] if self.routing is None else [self.given, self.routing["selector"]]
        if any(set(ballot["votes_root"]) != phases for ballot in ballots):
            raise Wrong("roots", f"expected one Merkle root for each phase of {sorted(phases)}")
        return "roots", "a Merkle root fixes every vote"

    def check_selector(self) -> tuple[str, str]:
        """Checks that the selector's own looks chose the prompt and prove what it claims."""
        if self.routing is None:
            return "selector", "one prompt, nothing was chosen"
        if self._selector is None:
            raise Wrong("selector", "the counts do not fit, so nothing can be recomputed")
        said, found = self.routing["selector"], self._selector.outcome
        if len(self._selector.tallies[-1].counts) != len(self.routing["bank"]):
            raise Wrong("selector", "the selector's votes are not over the prompts of the bank")
        if found.top_class != self.routing["selected_index"]:
            raise Wrong("selector", "the votes choose a prompt other than the one named")
        if isinstance(found, Certified) != (said["outcome"] == "certified"):
            raise Wrong("selector", "the selector's counts do not give the outcome stated")
        if isinstance(found, Certified) == (said.get("radius") is None):
            raise Wrong(
                "selector", "a selector must have a radius if it is certified, and only then"
            )
        if isinstance(found, Certified) and Decimal(str(said["radius"])) > rounded_down(
            found.radius
        ):
            raise Wrong("selector", "the selector's radius is larger than its counts give")
        self._require_bounds(said, found)
        self._require_rule(self._selector, said)
        return "selector", f"prompt {found.top_class} of the bank has the votes"

    def _require_bounds(self, said: Mapping[str, Any], found: Certified | Abstained) -> None:
        """Fails if a bound claims more than the counts prove."""
        lower = bound_rounded_down(found.p_a_lower)
        upper = bound_rounded_up(found.p_b_upper)
        if Decimal(str(said["p_a_lower"])) > lower:
            raise Wrong("bounds", f"p_a_lower is above {lower}, the value the counts give")
        if Decimal(str(said["p_b_upper"])) < upper:
            raise Wrong("bounds", f"p_b_upper is below {upper}, the value the counts give")

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
            raise Wrong("outcome", "the counts do not fit, so nothing can be recomputed")
        return self._outcome

    def check_stop(self) -> tuple[str, str]:
        """Checks that the looks end where the requested rule ends them, so none is left out."""
        if not self.staged:
            return "stop", "all samples that were planned were taken"
        if self._selector is not None and isinstance(self._selector.outcome, Abstained):
            if self.given["stopped_by"] != StopReason.SELECTOR_ABSTAINED:
                raise Wrong("stop", "no prompt was chosen, but another reason to stop is stated")
            return "stop", "sampling ended because no prompt was chosen"
        self._require_rule(self._looks, self.given)
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
            raise Wrong("stop", str(broken)) from broken
        if looks.contradict != said["contradiction"]:
            raise Wrong("stop", "the contradiction stated does not match the looks")

    def check_outcome(self) -> tuple[str, str]:
        """Checks that the counts give the outcome stated."""
        found = "certified" if isinstance(self.outcome, Certified) else "abstained"
        if found != self.given["outcome"]:
            raise Wrong("outcome", f"the counts give {found!r}, not the outcome stated")
        return "outcome", f"the counts give {found!r}"

    def check_class(self) -> tuple[str, str]:
        """Checks that the votes choose the class named, in the order of the labels."""
        certified = self.given["outcome"] == "certified"
        index = self.given["class_index" if certified else "closest_class_index"]
        name = self.given["prediction" if certified else "closest_class"]
        votes = (
            len(self._looks.tallies[-1].counts)
            if self.staged
            else len(self.given["counts_estimation"])
        )
        if votes != len(self.class_names):
            raise Wrong("class", f"{votes} counts for {len(self.class_names)} classes")
        if index != self.outcome.top_class:
            raise Wrong(
                "class",
                "the votes choose a class other than the one named",
            )
        if self.class_names[index] != name:
            raise Wrong("class", f"class {index} of the labels is not the class named")
        return "class", f"class {index} has the votes"

    def check_radius(self) -> tuple[str, str]:
        """Checks that the radius does not exceed the recomputed one."""
        if not isinstance(self.outcome, Certified):
            return "radius", "an abstention claims no radius"
        shown, most = Decimal(str(self.given["radius"])), self._aids().radius
        if shown > most:
            raise Wrong(
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
            raise Wrong(
                "reading_aids", "a norm or a number of grey levels exceeds what the radius gives"
            )
        return "reading_aids", "norms and grey levels follow from the radius"
