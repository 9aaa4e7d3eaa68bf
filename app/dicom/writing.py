"""Certificates become what a study gets."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydicom.dataset import Dataset

from app.client import Certification
from app.dicom.documents.capture import create_capture
from app.dicom.documents.joint_report import SeriesImage, create_joint_report
from app.dicom.documents.pdf import create_pdf
from app.dicom.documents.report import create_report
from app.dicom.documents.source import to_bytes
from app.dicom.objects import Objects, hide_made
from app.dicom.spool import Document, Member, Results, Task
from worker.contract import Contract
from worker.contract.certificate.audit import parse_json
from worker.contract.certificate.document import FinishedResult, parse_document


class AnswerUnusable(ValueError):
    """An answer of the service, or one that was kept, is of another release; the text says so."""


class Answer(Contract):
    """The service's answer about an image, as far as the joint answer of its series needs it."""

    made: str
    result: FinishedResult

    @classmethod
    def of(cls, found: Certification) -> "Answer":
        """What the service answered.

        Raises:
            AnswerUnusable: it is no finished certification of this release.
        """
        try:
            result = parse_document(parse_json(found.content))
        except ValueError as error:
            raise AnswerUnusable(f"the service's answer cannot be used: {error}") from None
        return cls(made=str(found.document["submitted_at"]), result=result)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "Answer":
        """An answer that the spool has kept.

        Raises:
            AnswerUnusable: it is none of this release.
        """
        try:
            return cls.model_validate_json(kept)
        except ValidationError:
            raise AnswerUnusable(
                "a certificate of the series is of another release: have its image tried again"
            ) from None

    def to_bytes(self) -> bytes:
        """As the spool keeps it: a function of the certificates."""
        return self.model_dump_json().encode()


def write_image(task: Task, answer: Answer, page: bytes, objects: Objects) -> Results:
    """The results of an image: its report, the printed report, a picture if its rule asks for it.

    Args:
        page: the printed report. It shows the image, but for a rule with pseudonyms: text that is
            burned into an image could be a name.

    Raises:
        ObjectAway, SaltUnusable, FileNotFoundError: the header cannot be read or hidden now.
    """
    rule, result = task.rule, answer.result
    header, made = objects.hide(rule, objects.read_header(task)), hide_made(rule, answer.made)
    documents = [create_report(header, result, rule, made=made, predecessor=task.predecessor)]
    documents.append(create_pdf(header, result, rule, page, made=made))
    if rule.capture:
        documents.append(create_capture(header, result, rule, made=made))
    return dict(map(_write, documents))


def write_series(task: Task, members: Sequence[Member], objects: Objects) -> Results:
    """The joint report of a series.

    Raises:
        ObjectAway, SaltUnusable, FileNotFoundError: the header cannot be read or hidden now.
        AnswerUnusable, SeriesNotJoined: the answers are not about one question, or of another
            release.
    """
    header = objects.read_header(task)
    answers = [None if one.answer is None else Answer.from_bytes(one.answer) for one in members]
    dates = [one.made for one in answers if one is not None]
    images = [
        SeriesImage(
            uids=objects.hide_uids(task.rule, member.uids),
            frame=member.frame,
            result=None if answer is None else answer.result,
        )
        for member, answer in zip(members, answers, strict=True)
    ]
    report = create_joint_report(
        objects.hide(task.rule, header),
        images,
        task.rule,
        made=hide_made(task.rule, max(dates, default="")),
        predecessor=task.predecessor,
    )
    return dict([_write(report)])


def _write(made: Dataset) -> tuple[Document, bytes]:
    document = Document(made.SOPClassUID, made.SeriesInstanceUID, made.SOPInstanceUID)
    return document, to_bytes(made)
