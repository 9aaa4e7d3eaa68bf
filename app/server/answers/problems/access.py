"""Who may not ask, or not as much."""

from app.server.answers.problems.problem import Problem


class KeyMissing(Problem):
    status, code = 401, "key_missing"
    text = "This service answers to keys: send one as Authorization: Bearer KEY or as X-API-Key."


class KeyInvalid(Problem):
    status, code = 401, "key_invalid"
    text = "The key is none of this service's, has expired or was revoked."


class TokenInvalid(Problem):
    status, code = 401, "token_invalid"
    text = "The token was not accepted: it is not the issuer's, for another service, or expired."


class SignOnRefused(Problem):
    status, code = 403, "sign_on_refused"
    text = "The issuer gave no token that lets anybody in; sign in again."


class ScopeMissing(Problem):
    status, code = 403, "scope_missing"
    text = "The key does not have the scope that this takes."


class KeysRequired(Problem):
    status, code = 403, "keys_required"
    text = (
        "This service has no keys yet, so it answers on its own machine alone. Its operator makes "
        "keys with promptsmooth keys add."
    )


class QuotaTooSmall(Problem):
    status, code = 422, "quota_too_small"
    text = "This request alone is more than its key may ever ask for at a time or in a day."


class RateLimited(Problem):
    status, code, retry_after_s = 429, "rate_limited", 1
    text = "This key has sent more requests than it may in a minute."


class QuotaExceeded(Problem):
    status, code, retry_after_s = 429, "quota_exceeded", 30
    text = "This key has more jobs, or has asked for more samples today, than it may."


class SignOnUnavailable(Problem):
    status, code, retry_after_s = 503, "sign_on_unavailable", 5
    text = "The issuer that people sign in at does not answer; try again shortly."
