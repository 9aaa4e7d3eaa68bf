"""Headers with pseudonyms: functions of what they replace and of a salt that the lab keeps.

Who has the salt can compute the pseudonym of a patient again, and so keep a map. Nobody else can.
"""

import hashlib
import hmac
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.dicom.documents.source import add_missing
from app.dicom.spool import Uids

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_KEPT = ("SpecificCharacterSet", "SOPClassUID", "InstanceNumber", "PatientSex", "PatientAge")
_METHOD = ["Patient and study modules replaced, UIDs hashed", "Dates cut to the year"]
_LEAST_BYTES = 16


class SaltUnusable(ValueError):
    """There is no salt, or it is too short to keep anything secret."""


class Pseudonyms:
    """Pseudonyms under one salt.

    Raises:
        SaltUnusable: it has fewer than 16 bytes.
    """

    def __init__(self, salt: bytes) -> None:
        if len(salt) < _LEAST_BYTES:
            raise SaltUnusable(f"a salt has at least {_LEAST_BYTES} bytes, got {len(salt)}")
        self._salt = salt

    def name_patient(self, patient_id: str, issuer: str = "") -> str:
        """The pseudonym of a patient: of an ID, and of who issued it where that is known."""
        named = f"{issuer}\\{patient_id}" if issuer else patient_id  # no text of one value has a \
        return self._name("patient", named)

    def name_uid(self, uid: str) -> UID:
        """The pseudonym of a UID, itself a UID."""
        return UID(f"2.25.{int.from_bytes(self._digest('uid', uid)[:16])}")

    def hide(self, header: Dataset) -> Dataset:
        """A header that names nobody: pseudonyms, sex, age and number; all else is left out."""
        hidden = Dataset()
        for keyword in _KEPT:
            if keyword in header:
                hidden[keyword] = header[keyword]
        for keyword in _UIDS:
            setattr(hidden, keyword, self.name_uid(header[keyword].value))
        patient = self._name_patient_of(header)
        hidden.PatientID, hidden.PatientName = patient, f"{patient}^"
        hidden.PatientIdentityRemoved = "YES"
        hidden.DeidentificationMethod = _METHOD
        add_missing(hidden)
        return hidden

    def hide_uids(self, uids: Uids) -> Uids:
        """The pseudonyms of an image's UIDs."""
        return Uids(uids.sop_class, *map(self.name_uid, (uids.instance, uids.series, uids.study)))

    def _name_patient_of(self, header: Dataset) -> str:
        """Without an ID, the patient of one study alone: no two are taken for one another."""
        patient_id, issuer = (
            str(header.get(keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID")
        )
        if patient_id:
            return self.name_patient(patient_id, issuer)
        return self._name("patient of study", header.StudyInstanceUID)

    def _name(self, what: str, value: str) -> str:
        return f"P{self._digest(what, value).hex()[:20].upper()}"

    def _digest(self, what: str, value: str) -> bytes:
        return hmac.digest(self._salt, f"{what}\n{value}".encode(), hashlib.sha256)


def cut_to_year(moment: str) -> str:
    """The first of January of a moment in ISO 8601."""
    return f"{moment[:4]}-01-01"


def load_pseudonyms(salt_file: Path | None) -> Pseudonyms:
    """Pseudonyms under the salt in a file.

    Raises:
        SaltUnusable: no file is named, it cannot be read, or it is too short.
    """
    if salt_file is None:
        raise SaltUnusable(
            "a rule asks for pseudonyms: name a file in PROMPTSMOOTH_DICOM_PSEUDONYM_SALT_FILE"
        )
    try:
        return Pseudonyms(salt_file.read_bytes().strip())
    except OSError as error:
        raise SaltUnusable(f"the salt cannot be read: {error.strerror}") from None
