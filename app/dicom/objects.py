"""Objects and their headers: from the spool, or read again from their rule's source."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from app.dicom.documents.pseudonyms import Pseudonyms, cut_to_year, load_pseudonyms
from app.dicom.documents.source import load_source
from app.dicom.rules import Rule, Rules, WebSource
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, Task, Uids
from app.dicom.web import Web, WebRefused


class ObjectAway(Exception):
    """A source does not give an object now; the text says why, without a header."""


def hide_made(rule: Rule, made: str) -> str:
    """When a result was asked for, as it says so: beside pseudonyms, the year alone."""
    return cut_to_year(made) if rule.pseudonymise else made


class Objects:
    """What tasks are about.

    Args:
        rules: name the sources.
        settings: of the node.
        spool: this thread's own.
    """

    def __init__(self, rules: Rules, settings: DicomSettings, spool: Spool) -> None:
        self._rules, self._settings, self._spool = rules, settings, spool

    def find(self, task: Task) -> Path | bytes:
        """The whole object; a path that may not exist where there is no source to ask.

        Raises:
            ObjectAway: its source does not give it.
        """
        path = self._spool.object_path(task.object)
        if path.exists() or task.rule.source is None or task.uids is None:
            return path
        return self._fetch(task.rule, task.uids)

    def read_header(self, task: Task) -> Dataset:
        """The header that results are made from: as its source has it now, if there is one.

        Raises:
            ObjectAway: its source does not give it.
            FileNotFoundError: it is not in the spool.
        """
        path = self._spool.object_path(task.object)
        if task.rule.source is None or task.uids is None:
            return load_source(path)
        return load_source(BytesIO(self._fetch(task.rule, task.uids)))

    def hide(self, rule: Rule, header: Dataset) -> Dataset:
        """The header as results have it: with pseudonyms where the rule asks for them.

        Raises:
            SaltUnusable: there is no salt for them.
        """
        return self._load_pseudonyms().hide(header) if rule.pseudonymise else header

    def hide_uids(self, rule: Rule, uids: Uids) -> Uids:
        """The UIDs of an image as results name it.

        Raises:
            SaltUnusable: there is no salt for their pseudonyms.
        """
        return self._load_pseudonyms().hide_uids(uids) if rule.pseudonymise else uids

    def _load_pseudonyms(self) -> Pseudonyms:
        return load_pseudonyms(self._settings.pseudonym_salt_file)

    def _fetch(self, rule: Rule, uids: Uids) -> bytes:
        source = self._rules.sources.get(rule.source or "")
        if not isinstance(source, WebSource):
            raise ObjectAway(f"the rules have no source {rule.source} by DICOMweb")
        most = self._settings.max_object_bytes
        try:
            with Web(source) as web:
                return web.fetch(uids.study, uids.series, uids.instance, most_bytes=most)
        except WebRefused as error:
            raise ObjectAway(f"{rule.source}: {error}") from None
