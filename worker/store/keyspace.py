"""The names of our keys in Redis, in one place."""

from datetime import date

PREFIX = "promptsmooth"

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
"""The digests of all vectors ever tuned on an image, a set; kept for ever: see `prompts`."""

DRAIN = f"{PREFIX}:drain"
"""The hosts that are to take no jobs, a hash: see `hosts`."""
COUNTERS = f"{PREFIX}:counters"
"""How often things happened since this Redis began, a hash: see `counters`."""


def accepted(queue_name: str) -> str:
    """The jobs of a queue that were accepted and have no result, by time, a sorted set."""
    return f"{PREFIX}:accepted:{queue_name}"


def suspects(queue_name: str) -> str:
    """Accepted jobs that were found nowhere, and since when, a sorted set."""
    return f"{PREFIX}:suspects:{queue_name}"


ALL_LISTED = f"{PREFIX}:listed"
"""The ids of all certifications, a sorted set by the time of submission; see `jobs.listing`."""


def listed(owner: str) -> str:
    """The ids of one owner's certifications, as `ALL_LISTED` has everybody's."""
    return f"{PREFIX}:listed:{owner}"


def job(certification_id: str) -> str:
    return f"{PREFIX}:certification:{certification_id}:job"


def result(certification_id: str) -> str:
    return f"{PREFIX}:certification:{certification_id}:result"


def progress(certification_id: str) -> str:
    return f"{PREFIX}:certification:{certification_id}:progress"


def cost(certification_id: str) -> str:
    """The model of a job and the most samples it can take, as `worker.jobs.load` reads them."""
    return f"{PREFIX}:certification:{certification_id}:cost"


def checkpoint(certification_id: str) -> str:
    return f"{PREFIX}:certification:{certification_id}:checkpoint"


def run(certification_id: str) -> str:
    """The token of the latest run: see `fence`."""
    return f"{PREFIX}:certification:{certification_id}:run"


def cut_off_at(certification_id: str) -> str:
    """How many samples were stored when the last attempt was cut off."""
    return f"{PREFIX}:certification:{certification_id}:cut-off-at"


def lost_engines(certification_id: str) -> str:
    """How many engines ended while they counted for a certification."""
    return f"{PREFIX}:certification:{certification_id}:lost-engines"


def cancel(certification_id: str) -> str:
    """Says that nobody counts for a certification any more; outlives its result."""
    return f"{PREFIX}:certification:{certification_id}:cancel"


def batch(batch_id: str) -> str:
    return f"{PREFIX}:batch:{batch_id}"


def batch_refused(batch_id: str) -> str:
    """The images of a batch that could not be used."""
    return f"{PREFIX}:batch:{batch_id}:refused"


def idempotency(owner: str, key_sha256: str) -> str:
    """What a caller's idempotency key was used for, by its digest."""
    return f"{PREFIX}:idempotency:{owner}:{key_sha256}"


def image(sha256: str) -> str:
    return f"{PREFIX}:image:{sha256}"


def image_holders(sha256: str) -> str:
    """The jobs whose image this is, a set of their own keys; see `worker.jobs.purge`."""
    return f"{PREFIX}:holders:image:{sha256}"


def certificate(request_sha256: str) -> str:
    """The finished result of a canonical request under one key secret."""
    return f"{PREFIX}:certificate:{request_sha256}"


def votes(request_sha256: str, stream: str) -> str:
    """The single votes of one phase, noise level and target of a canonical request."""
    return f"{PREFIX}:votes:{request_sha256}:{stream}"


def votes_holders(request_sha256: str) -> str:
    """The jobs whose votes these are, a set of their own keys; see `worker.jobs.purge`."""
    return f"{PREFIX}:holders:votes:{request_sha256}"


def attempts(image_sha256: str) -> str:
    """The canonical requests ever rolled for an image."""
    return f"{PREFIX}:attempts:{image_sha256}"


RANGE_BOARD_PARTS = ("posting", "open", "leases", "counted", "hosts")


def range_board(certification_id: str, run: str, part: str) -> str:
    """Ranges of one run of a certification that several hosts count."""
    return f"{PREFIX}:certification:{certification_id}:ranges:{run}:{part}"


def disagreements(request_sha256: str) -> str:
    """Samples of a canonical request whose votes were counted differently, a set."""
    return f"{PREFIX}:doubts:{request_sha256}"


def prompt(sha256: str) -> str:
    """The values of a prompt."""
    return f"{PREFIX}:prompt:{sha256}"


def tuned(request_sha256: str) -> str:
    """The prompts that were tuned for a canonical request, before its first vote."""
    return f"{PREFIX}:tuned:{request_sha256}"


def adapted_prompt(prompt_id: str) -> str:
    """The card of a prompt that was adapted to one image."""
    return f"{PREFIX}:adapted-prompt:{prompt_id}"


def adapted_owners(prompt_id: str) -> str:
    """Who may see a prompt that was adapted to one image, a set."""
    return f"{PREFIX}:adapted-prompt:{prompt_id}:owners"


def requests_limit(owner: str) -> str:
    """When a caller's minute would be full again, in microseconds."""
    return f"{PREFIX}:limit:requests:{owner}"


def open_jobs(owner: str) -> str:
    """A caller's jobs that were queued or running when somebody last looked, a sorted set."""
    return f"{PREFIX}:limit:jobs:{owner}"


def samples_asked(owner: str, day: date) -> str:
    """The samples that a caller asked for in a day."""
    return f"{PREFIX}:limit:samples:{owner}:{day.isoformat()}"


def audit_head(chain: str) -> str:
    """The last entry of an audit log, noted where its writer alone cannot unwrite it."""
    return f"{PREFIX}:audit-head:{chain}"


def audit_awaited(queue_name: str) -> str:
    """The jobs of a queue whose outcome the audit log is to have and has not, by time."""
    return f"{PREFIX}:audit-awaited:{queue_name}"


AUDIT_WRITER = f"{PREFIX}:audit-writer"
"""Which app writes outcomes now: of several, one."""


def learning_job(learning_id: str) -> str:
    return f"{PREFIX}:learning:{learning_id}:job"


def learning_request(sha256: str) -> str:
    """Which learning a request began, by the digest of all that it asks and who asks."""
    return f"{PREFIX}:learning-request:{sha256}"


def learning_result(learning_id: str) -> str:
    return f"{PREFIX}:learning:{learning_id}:result"


def learning_curve(learning_id: str) -> str:
    """The epochs done, a hash by their numbers."""
    return f"{PREFIX}:learning:{learning_id}:curve"


def learning_checkpoint(learning_id: str) -> str:
    return f"{PREFIX}:learning:{learning_id}:checkpoint"


def worker(name: str) -> str:
    return f"{PREFIX}:worker:{name}"
