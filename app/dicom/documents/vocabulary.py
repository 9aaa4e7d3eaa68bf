"""The concepts of our structured reports: codes of standards, and of our own scheme."""

import hashlib

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as Concept

from app.dicom.rules import Rule

SCHEME = "99PROMPTSMOOTH"
"""Our own coding scheme, for what no standard has a code for."""
UNITLESS = codes.UCUM.NoUnits


def ours(value: str, meaning: str) -> Concept:
    """A concept of our own scheme."""
    return Concept(value, SCHEME, meaning)


FINDING = ours("certificate", "Certified robustness of a prediction")
SERIES_FINDING = ours("series-certified", "Certified robustness of a series")
OUTCOME = ours("outcome", "Outcome of certification")
CERTIFIED = ours("certified", "Certified")
ABSTAINED = ours("abstained", "Abstained: no class is predicted")
PREDICTION = ours("prediction", "Predicted class")
SCOPE = ours("scope", "Scope of the guarantee")
RADIUS = ours("radius", "Certified l2 radius, pixels in [0, 1]")
SIGMA = ours("sigma", "Standard deviation of the noise")
ALPHA = ours("alpha", "Error probability alpha")
CONFIDENCE = ours("confidence", "Confidence, 1 - alpha")
SAMPLES = ours("n", "Number of noisy samples")
ATTEMPTS = ours("attempts", "Attempts on this image on record")
IMAGES = ours("images", "N, images of the series")
IMAGES_CERTIFIED = ours("images-certified", "N_A, images certified as the class")
IMAGES_OTHER = ours("images-other", "N_B, most images of any other class")
IMAGES_ANY_CONTENT = ours("images-anything", "Images that may hold any content")
STATEMENT = Concept("121106", "DCM", "Comment")
REPORTED = Concept("363679005", "SCT", "Imaging procedure")


def code_class(name: str, rule: Rule) -> Concept:
    """The lab's code for a class, else one of our scheme that is a function of its name."""
    if (code := rule.codes.get(name)) is not None:
        return Concept(code.value, code.scheme, code.meaning)
    value = hashlib.sha256(name.encode()).hexdigest()[:16]
    meaning = "".join(c if c.isprintable() and c != "\\" else " " for c in name).strip()[:64]
    return ours(value, meaning or value)
