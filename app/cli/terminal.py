"""What the command line says when something expected goes wrong."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_tidily() -> Iterator[None]:
    """SIGTERM and a lost terminal end the block as ctrl-C does: what it began is removed.

    For the main thread, which is the one that handles signals.
    """

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)  # as a shell says it

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sentences() -> Iterator[None]:
    """Expected errors end in one sentence and exit status 2."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError
    from redis.exceptions import RedisError

    from models.catalogue import UnknownModel
    from models.catalogue.weights import WeightsError
    from models.datasets.card import UnknownDataset
    from models.files.untrusted_text import explain_invalid
    from models.prompts.catalogue import UnknownPrompt
    from worker.key_secret import SecretUnusable
    from worker.processes.child import GivenUp
    from worker.settings import explain_settings

    try:
        yield
    except SettingsError as error:
        raise _fail(explain_settings(error)) from error
    except ValidationError as error:
        if error.title.endswith("Settings"):
            raise _fail(explain_settings(error)) from error
        raise _fail(explain_invalid(error, error.title)) from error
    except (
        ValueError,
        UnknownModel,
        UnknownDataset,
        UnknownPrompt,
        WeightsError,
        SecretUnusable,
        GivenUp,
    ) as error:
        raise _fail(str(error)) from error
    except RedisError as error:
        raise _fail(f"Redis does not answer as it should: {error}") from error
    except OSError as error:
        named = error.filename is not None
        raise _fail(f"{error.filename}: {error.strerror}" if named else str(error)) from error


def say_note(sentence: str) -> None:
    """Says on standard error what a person may want to know before the result; nothing if empty."""
    if sentence:
        typer.secho(f"promptsmooth: note: {sentence}", err=True, fg=typer.colors.YELLOW)


def _fail(sentence: str) -> typer.Exit:
    typer.secho(f"promptsmooth: {sentence}", err=True, fg=typer.colors.RED)
    return typer.Exit(2)
