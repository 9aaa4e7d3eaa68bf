"""The mathematics of certificates. Pure: standard library, numpy and scipy only."""

from worker.certification.bounds import (
    l2_radius,
    lower_confidence_bound,
    upper_confidence_bound,
)
from worker.certification.certificate import (
    Abstained,
    Certified,
    Outcome,
    ReadingAids,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
    rounded_down,
)
from worker.certification.cohen import certify_cohen
from worker.certification.procedure import Cohen, Goal, Phase
from worker.certification.tally import Tally

__all__ = [
    "Abstained",
    "Certified",
    "Cohen",
    "Goal",
    "Outcome",
    "Phase",
    "ReadingAids",
    "Tally",
    "bound_rounded_down",
    "bound_rounded_up",
    "certify_cohen",
    "l2_radius",
    "lower_confidence_bound",
    "reading_aids",
    "rounded_down",
    "upper_confidence_bound",
]
