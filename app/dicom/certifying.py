"""Takes a task from an object to its results: an ordinary client of the service."""

from app.client import Certification, Client, ClientError, FileUnreadable, ServiceRefused
from app.dicom.documents.joint_report import SeriesNotJoined
from app.dicom.documents.pseudonyms import SaltUnusable
from app.dicom.objects import ObjectAway, Objects
from app.dicom.retries import retry_later
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, Task, digest
from app.dicom.writing import Answer, AnswerUnusable, write_image, write_series
from models.log import get_logger

_FIRST_LOOK_S, _LONGEST_LOOK_S = 1.0, 30.0
_JOIN_LOOK_S = 2.0  # between two looks at whether the last image of a series has its results
_OF_THE_OPERATOR = frozenset({401, 403, 404, 408, 409, 413, 429})
"""Refusals that another setting or another moment can end: tried again, as 5xx are."""
_SAYS_WHY = (ObjectAway, SaltUnusable, AnswerUnusable, SeriesNotJoined)
"""Their texts are sentences of our own and hold nothing of a header."""

log = get_logger(__name__)


class Certifying:
    """Sends objects to the service and fetches their certificates.

    Args:
        client: with no patience of its own: what fails is tried again later.
        objects: what tasks are about.
        settings: of the node.
        spool: this thread's own.
    """

    def __init__(
        self, client: Client, objects: Objects, settings: DicomSettings, spool: Spool
    ) -> None:
        self._client, self._objects = client, objects
        self._settings, self._spool = settings, spool

    def step(self) -> bool:
        """Works on one task that is due; False if none is."""
        self._spool.choose_complete_series(self._settings.settle_s)
        task = self._spool.find_due("waiting", "going-on", "certifying", "joining")
        if task is None:
            return False
        try:
            self._work(task)
        except ServiceRefused as refused:
            self._judge(task, refused)
        except (FileUnreadable, FileNotFoundError):
            self._spool.give_up(task, "the object is missing from the spool")
        except ClientError:
            self._retry(task, "the service does not answer")
        except _SAYS_WHY as error:
            self._retry(task, str(error))
        except Exception as error:  # one odd object must not keep the others from their turn
            log.error("step_failed", task=task.key[:16], reason=type(error).__name__)
            self._retry(task, f"it could not be worked on ({type(error).__name__})")
        return True

    def _work(self, task: Task) -> None:
        match task.state:
            case "waiting":
                self._submit(task)
            case "going-on":
                self._go_on(task)
            case "joining":
                self._join(task)
            case _:
                self._follow(task)

    def _submit(self, task: Task) -> None:
        if (objection := task.rule.find_frame_objection(task.frames)) is not None:
            self._spool.give_up(task, objection)
            return
        key = digest(task.key, str(task.submission))
        image = self._objects.find(task)
        job = self._client.submit(image, idempotency_key=key, **_create_fields(task))
        self._spool.submitted(task, job.id)
        log.info("submitted", task=task.key[:16], certification=job.id)

    def _go_on(self, task: Task) -> None:
        """Takes more samples for an image that has results; by the service once and not twice."""
        assert task.certification is not None, "it has results"
        job = self._client.continue_certification(task.certification)
        self._spool.submitted(task, job.id)
        log.info("went_on", task=task.key[:16], certification=job.id)

    def _join(self, task: Task) -> None:
        members = self._spool.list_members(task)
        if members is None:
            self._spool.put_off(task, _JOIN_LOOK_S)
            return
        self._spool.put_results(task, write_series(task, members, self._objects))
        log.info("series_joined", task=task.key[:16], images=len(members))

    def _follow(self, task: Task) -> None:
        assert task.certification is not None, "it was submitted"
        found = self._client.get(task.certification)
        match found.status:
            case "finished":
                self._keep_results(task, found)
            case "failed":
                self._spool.give_up(task, f"the certification failed: {found.failure}", anew=True)
            case "cancelled":
                self._spool.give_up(task, "the certification was cancelled", anew=True)
            case _:
                self._spool.put_off(task, self._find_next_look(task))

    def _find_next_look(self, task: Task) -> float:
        """A tenth of the time that the certification has taken so far."""
        taken = (self._spool.clock() - task.since) / 10
        return min(max(_FIRST_LOOK_S, taken), _LONGEST_LOOK_S)

    def _keep_results(self, task: Task, found: Certification) -> None:
        answer = Answer.of(found)
        page = self._client.report(found.id, picture=not task.rule.pseudonymise)
        results = write_image(task, answer, page, self._objects)
        kept = answer.to_bytes() if task.rule.joint else None
        self._spool.put_results(task, results, answer=kept)
        log.info("results_owed", task=task.key[:16], certification=found.id)

    def _judge(self, task: Task, refused: ServiceRefused) -> None:
        """A refusal is final, ends with another moment, or means that the job is not known now."""
        reason = f"the service refused it: {refused.code}"
        if not refused.code:  # a proxy, or a portal that wants somebody to sign in
            self._retry(task, f"something other than the service answered ({refused.status})")
        elif refused.code == "nothing_to_continue":
            self._spool.delivered(task, [])  # it keeps the results that it has
            log.info("nothing_to_continue", task=task.key[:16])
        elif refused.is_gone and task.state == "going-on":
            self._spool.give_up(task, reason)  # a new certification would say the same as before
        elif refused.is_gone:
            self._spool.lost(task)
        elif refused.status >= 500 or refused.status in _OF_THE_OPERATOR:
            self._retry(task, reason)
        else:
            self._spool.give_up(task, reason)

    def _retry(self, task: Task, reason: str) -> None:
        retry_later(self._settings, self._spool, task, reason)


def _create_fields(task: Task) -> dict[str, object]:
    """The rule's request about this image: its frame, its share of alpha, its attempt."""
    rule, fields = task.rule, dict(task.rule.fields)
    if task.frame is not None:
        fields["frame"] = str(task.frame)
    if rule.joint:
        fields |= {"joint": "true", "alpha": rule.divide_alpha(task.alpha_parts)}
    if task.further:
        fields["attempt"] = str(int(str(fields.get("attempt", 0))) + task.further)
    return fields
