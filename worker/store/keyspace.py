"""The names of our keys in Redis, in one place."""

from collections.abc import Callable
from datetime import date

PREFIX = "promptsmooth"


def _by_id(form: str) -> Callable[[str], str]:
    """The names of the keys of one form: what is named stands in the place of `{}`."""

    def name(named: str) -> str:
        return f"{PREFIX}:{form.format(named)}"

    return name


KEY_COMMITMENT = f"{PREFIX}:key-commitment"
SIGNING_KEY = f"{PREFIX}:signing-key"
RESTORING = f"{PREFIX}:restoring"
"""There while a backup is put back; and after that when it was cut off."""
WORKERS = f"{PREFIX}:workers"
PROMPTS = f"{PREFIX}:prompts"
"""The cards of prompts by id, a hash."""
PROMPT_IDS = f"{PREFIX}:prompt-ids"
"""The digest that each id ever given names, a hash; kept for ever."""
PROMPT_OWNERS = f"{PREFIX}:prompt-owners"
"""Who may see the prompt of an id, a hash; no entry: everyone. Kept for ever, as the ids are."""
TUNED_VECTORS = f"{PREFIX}:tuned-vectors"
"""The digests of all vectors ever tuned on an image, a set; kept for ever: see `tuned_vectors`."""
TUNED_STARTS = f"{PREFIX}:tuned-starts"
"""The digests of the tuned prompts whose start is stored, a set: see `tuned_vectors`."""

DRAIN = f"{PREFIX}:drain"
"""The hosts that are to take no jobs, a hash: see `hosts`."""
COUNTERS = f"{PREFIX}:counters"
"""How often things happened since this Redis began, a hash: see `counters`."""

accepted = _by_id("accepted:{}")
"""The jobs of a queue that were accepted and have no result, by time, a sorted set."""
priority = _by_id("priority:{}")
"""The priority of a job, unless it is normal."""
waiting = _by_id("waiting:{}")
"""The jobs of a queue, a colon and a priority that wait beside RQ's queue, a list."""
bell = _by_id("bell:{}")
"""Urgent jobs that came to a queue, a list that wakes the workers that take them alone."""
turns = _by_id("turns:{}")
"""How many jobs of a queue went before one that has waited for long, a hash."""
suspects = _by_id("suspects:{}")
"""Accepted jobs that were found nowhere, and since when, a sorted set."""

ALL_LISTED = f"{PREFIX}:listed"
"""The ids of all certifications, a sorted set by the time of submission; see `jobs.listing`."""
listed = _by_id("listed:{}")
"""The ids of one owner's certifications, as `ALL_LISTED` has everybody's."""

job = _by_id("certification:{}:job")
result = _by_id("certification:{}:result")
progress = _by_id("certification:{}:progress")
cost = _by_id("certification:{}:cost")
"""The model of a job and the most samples it can take, as `worker.jobs.load` reads them."""
checkpoint = _by_id("certification:{}:checkpoint")
run = _by_id("certification:{}:run")
"""The token of the latest run: see `fence`."""
cut_off_at = _by_id("certification:{}:cut-off-at")
"""How many samples were stored when the last attempt was cut off."""
lost_engines = _by_id("certification:{}:lost-engines")
"""How many engines ended while they counted for a certification."""
cancel = _by_id("certification:{}:cancel")
"""Says that nobody counts for a certification any more; outlives its result."""

callback = _by_id("certification:{}:callback")
"""Where the end of a certification is to be told, and how it ended, a hash: see `callbacks`."""
learning_callback = _by_id("learning:{}:callback")
"""The same of a learning."""
due_webhooks = _by_id("webhooks:{}")
"""The webhooks of one target that are due, by the time of the next attempt, a sorted set."""
WEBHOOK_TARGETS = f"{PREFIX}:webhook-targets"
"""The targets that webhooks wait for, a set."""
witness = _by_id("certification:{}:witness")
"""The witness of a certification and its images, a hash; see `jobs.witness`."""
witness_asked = _by_id("certification:{}:witness-asked")
"""Says that a witness was asked for."""
continued_by = _by_id("certification:{}:continued-by")
"""The certification that goes on from one."""

batch = _by_id("batch:{}")
batch_refused = _by_id("batch:{}:refused")
"""The images of a batch that could not be used."""


def idempotency(owner: str, key_sha256: str) -> str:
    """What a caller's idempotency key was used for, by its digest."""
    return f"{PREFIX}:idempotency:{owner}:{key_sha256}"


image = _by_id("image:{}")
image_holders = _by_id("holders:image:{}")
"""The jobs whose image this is, a set of their own keys; see `worker.jobs.purge`."""
certificate = _by_id("certificate:{}")
"""The finished result of a canonical request under one key secret.

That of a request which went on is under `{digest}:{continuations}`.
"""


def prefix(request_sha256: str, continuations: int) -> str:
    """The votes at the end of a part of a canonical request, where the next one goes on: a hash."""
    return f"{PREFIX}:prefix:{request_sha256}:{continuations}"


def votes(request_sha256: str, stream: str, f_sha256: str | None = None) -> str:
    """The single votes of one phase, noise level and target of a canonical request, by one f.

    Votes of version 0.1.0 name no f.
    """
    of = "" if f_sha256 is None else f"{f_sha256}:"
    return f"{PREFIX}:votes:{request_sha256}:{of}{stream}"


votes_holders = _by_id("holders:votes:{}")
"""The jobs whose votes these are, a set of their own keys; see `worker.jobs.purge`."""
attempts = _by_id("attempts:{}")
"""The canonical requests ever rolled for an image, a hash with their numbers.

A request that was begun again under another f has an entry more, `{digest}@{f_sha256}`; under an
f without a fingerprint one for every run, `{digest}@{f_sha256}#{entries before}`.
"""
attempt_alphas = _by_id("attempt-alphas:{}")
"""What each of these attempts spent: the sum of alpha over its certificates, a hash."""
shown = _by_id("shown:{}")
"""Every f under which counts of a canonical request were shown, a set; kept for ever."""

RANGE_BOARD_PARTS = ("posting", "open", "leases", "counted", "hosts")


def range_board(certification_id: str, run: str, part: str) -> str:
    """Ranges of one run of a certification that several hosts count."""
    return f"{PREFIX}:certification:{certification_id}:ranges:{run}:{part}"


disagreements = _by_id("doubts:{}")
"""Samples of a canonical request whose votes were counted differently, a set."""

prompt = _by_id("prompt:{}")
"""The values of a prompt."""
tuned = _by_id("tuned:{}")
"""The prompts that were tuned for a canonical request, before its first vote."""
tuned_start = _by_id("tuned-start:{}")
"""The values of the prompt that a tuned prompt started from."""
learned_on = _by_id("learned-on:{}")
"""The digests of the images that vectors were learned on, a set; kept for ever."""
adapted_prompt = _by_id("adapted-prompt:{}")
"""The card of a prompt that was adapted to one image."""
adapted_owners = _by_id("adapted-prompt:{}:owners")
"""Who may see a prompt that was adapted to one image, a set."""

requests_limit = _by_id("limit:requests:{}")
"""When a caller's minute would be full again, in microseconds."""
open_jobs = _by_id("limit:jobs:{}")
"""A caller's jobs that were queued or running when somebody last looked, a sorted set."""


def samples_asked(owner: str, day: date) -> str:
    """The samples that a caller asked for in a day."""
    return f"{PREFIX}:limit:samples:{owner}:{day.isoformat()}"


audit_head = _by_id("audit-head:{}")
"""The last entry of an audit log, noted where its writer alone cannot unwrite it."""
audit_awaited = _by_id("audit-awaited:{}")
"""The jobs of a queue whose outcome the audit log is to have and has not, by time."""
audit_written = _by_id("audit-written:{}")
"""A job whose outcome somebody is writing to the audit log, or wrote a moment ago."""
AUDIT_WRITER = f"{PREFIX}:audit-writer"
"""Which app writes outcomes now: of several, one."""

learning_job = _by_id("learning:{}:job")
learning_request = _by_id("learning-request:{}")
"""Which learning a request began, by the digest of all that it asks and who asks."""
learning_result = _by_id("learning:{}:result")
learning_curve = _by_id("learning:{}:curve")
"""The epochs done, a hash by their numbers."""
learning_checkpoint = _by_id("learning:{}:checkpoint")

worker = _by_id("worker:{}")
