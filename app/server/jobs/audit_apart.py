"""An untrusted certificate audited in a process of its own, with bounds on time and memory.

Its figures are recomputed from its counts, which can take seconds of Python. A process has its own
interpreter lock, so meanwhile this one answers others.
"""

import os
import resource

import anyio
from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from app.server.answers.problems import invalid
from worker.contract.certificate.audit import AuditReport, audit_document, parse_json

_TIMEOUT_S = 20
_MEMORY_BYTES = 2 * 10**9  # of address space, most of it that of libraries
_NICENESS = 5


async def audit_apart(
    body: bytes, trusted_keys: tuple[str, ...], limiter: CapacityLimiter
) -> AuditReport:
    """What an audit of the document in `body` finds.

    Raises:
        Problem: it is no JSON object, or takes more time or memory than an audit may.
    """
    try:
        with anyio.fail_after(_TIMEOUT_S):
            return await to_process.run_sync(
                _audit, body, trusted_keys, cancellable=True, limiter=limiter
            )
    except (TimeoutError, MemoryError, BrokenWorkerProcess):
        raise invalid("body", f"a certificate that can be checked within {_TIMEOUT_S} s") from None
    except ValueError:
        raise invalid("body", "a JSON object with no name twice and no NaN") from None


def _audit(body: bytes, trusted_keys: tuple[str, ...]) -> AuditReport:
    """Runs in the other process."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    return audit_document(parse_json(body), trusted_keys)
