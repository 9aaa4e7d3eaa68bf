"""The mathematics of certificates. It needs only the standard library, numpy and scipy."""

from worker.certification.audit import Finding, audit_certificate
from worker.certification.bounds import l2_radius, lower_confidence_bound, upper_confidence_bound
from worker.certification.certificate import (
    Abstained,
    Certified,
    Outcome,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
    rounded_down,
)
from worker.certification.cohen import certify_cohen
from worker.certification.contest import Contest, Routed, Single, join_routed
from worker.certification.procedure import Cohen, Goal, Looks, Phase, Procedure, Staged
from worker.certification.schedule import plan_looks
from worker.certification.series import (
    ImageClaim,
    SeriesAbstained,
    SeriesCertified,
    SeriesStep,
    certify_series,
)
from worker.certification.staged import certify_staged
from worker.certification.stopping import StoppingRule, StopReason
from worker.certification.tally import Tally

__all__ = [
    "Abstained",
    "Certified",
    "Cohen",
    "Contest",
    "Finding",
    "Goal",
    "ImageClaim",
    "Looks",
    "Outcome",
    "Phase",
    "Procedure",
    "Routed",
    "SeriesAbstained",
    "SeriesCertified",
    "SeriesStep",
    "Single",
    "Staged",
    "StopReason",
    "StoppingRule",
    "Tally",
    "audit_certificate",
    "bound_rounded_down",
    "bound_rounded_up",
    "certify_cohen",
    "certify_series",
    "certify_staged",
    "join_routed",
    "l2_radius",
    "lower_confidence_bound",
    "plan_looks",
    "reading_aids",
    "rounded_down",
    "upper_confidence_bound",
]
