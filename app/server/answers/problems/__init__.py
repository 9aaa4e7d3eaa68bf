"""What the service refuses or fails at: one class per HTTP status and stable code.

Every error is answered as an RFC 9457 document, `application/problem+json`. The `text` of a class
is its default detail. No text repeats what was sent, because that can hold patient data.

Problem
├── 400 FormUnreadable · JsonUnreadable · HttpInvalid
├── 401 KeyMissing · KeyInvalid · TokenInvalid
├── 403 ScopeMissing · KeysRequired · OriginRefused · SignOnRefused
├── 404 NotFound · CertificationUnknown · BatchUnknown · VotesUnknown · WitnessUnknown
│       · ModelNotFound · PromptNotFound · PromptJobUnknown · EvaluationUnknown
├── 405 MethodNotAllowed
├── 408 BodyTooSlow · HeadersTooSlow
├── 409 NotFinished · NothingToContinue · PromptIdTaken · PromptShips · PromptKept
│       · IdempotencyInProgress · EvaluationNotFinished
├── 410 InputImageExpired · CertificationGone
├── 413 BodyTooLarge                            and ImageRefused, by the image's code
├── 415 MediaTypeUnsupported · PromptFormatUnsupported   and ImageRefused, by the image's code
├── 421 HostUnknown
├── 422 RequestInvalid · FieldUnknown · FieldRepeated · IdempotencyKeyReused · ModelUnknown
│       · PromptInvalid · TrainingImagesInvalid · QuotaTooSmall · EvaluationTooLarge
│                                               and ImageRefused
├── 429 RateLimited · QuotaExceeded
├── 500 InternalError · RecordDamaged
└── 503 QueueFull · QueueUnavailable · StorageFull · ModelUnavailable · DecodingUnavailable
        · NotReady · AuditLogUnavailable · TooBusy · SignOnUnavailable · EvaluationsOff
"""

from app.server.answers.problems.access import (
    KeyInvalid,
    KeyMissing,
    KeysRequired,
    QuotaExceeded,
    QuotaTooSmall,
    RateLimited,
    ScopeMissing,
    SignOnRefused,
    SignOnUnavailable,
    TokenInvalid,
)
from app.server.answers.problems.certifications import (
    BatchUnknown,
    CertificationGone,
    CertificationUnknown,
    InputImageExpired,
    NotFinished,
    NothingToContinue,
    RecordDamaged,
    VotesUnknown,
    WitnessUnknown,
)
from app.server.answers.problems.evaluations import (
    EvaluationNotFinished,
    EvaluationsOff,
    EvaluationTooLarge,
    EvaluationUnknown,
)
from app.server.answers.problems.images import (
    ImageRefused,
    image_status,
)
from app.server.answers.problems.problem import (
    MEDIA_TYPE,
    Problem,
)
from app.server.answers.problems.prompts import (
    ModelNotFound,
    ModelUnknown,
    PromptFormatUnsupported,
    PromptIdTaken,
    PromptInvalid,
    PromptJobUnknown,
    PromptKept,
    PromptNotFound,
    PromptShips,
    TrainingImagesInvalid,
)
from app.server.answers.problems.requests import (
    OF_A_BODY,
    BodyTooLarge,
    BodyTooSlow,
    FieldRepeated,
    FieldUnknown,
    FormUnreadable,
    HeadersTooSlow,
    HostUnknown,
    HttpInvalid,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    JsonUnreadable,
    MediaTypeUnsupported,
    MethodNotAllowed,
    NotFound,
    OriginRefused,
    RequestInvalid,
    invalid,
)
from app.server.answers.problems.responses import (
    create_response,
    describe,
    list_codes,
)
from app.server.answers.problems.service import (
    QUEUE_AWAY,
    AuditLogUnavailable,
    DecodingUnavailable,
    InternalError,
    ModelUnavailable,
    NotReady,
    QueueFull,
    QueueUnavailable,
    StorageFull,
    TooBusy,
)

__all__ = [
    "MEDIA_TYPE",
    "OF_A_BODY",
    "QUEUE_AWAY",
    "AuditLogUnavailable",
    "BatchUnknown",
    "BodyTooLarge",
    "BodyTooSlow",
    "CertificationGone",
    "CertificationUnknown",
    "DecodingUnavailable",
    "EvaluationNotFinished",
    "EvaluationTooLarge",
    "EvaluationUnknown",
    "EvaluationsOff",
    "FieldRepeated",
    "FieldUnknown",
    "FormUnreadable",
    "HeadersTooSlow",
    "HostUnknown",
    "HttpInvalid",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "ImageRefused",
    "InputImageExpired",
    "InternalError",
    "JsonUnreadable",
    "KeyInvalid",
    "KeyMissing",
    "KeysRequired",
    "MediaTypeUnsupported",
    "MethodNotAllowed",
    "ModelNotFound",
    "ModelUnavailable",
    "ModelUnknown",
    "NotFinished",
    "NotFound",
    "NotReady",
    "NothingToContinue",
    "OriginRefused",
    "Problem",
    "PromptFormatUnsupported",
    "PromptIdTaken",
    "PromptInvalid",
    "PromptJobUnknown",
    "PromptKept",
    "PromptNotFound",
    "PromptShips",
    "QueueFull",
    "QueueUnavailable",
    "QuotaExceeded",
    "QuotaTooSmall",
    "RateLimited",
    "RecordDamaged",
    "RequestInvalid",
    "ScopeMissing",
    "SignOnRefused",
    "SignOnUnavailable",
    "StorageFull",
    "TokenInvalid",
    "TooBusy",
    "TrainingImagesInvalid",
    "VotesUnknown",
    "WitnessUnknown",
    "create_response",
    "describe",
    "image_status",
    "invalid",
    "list_codes",
]
