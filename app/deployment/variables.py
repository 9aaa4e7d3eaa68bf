"""Variables of the environment that look like settings. No program reads a misspelt one."""

import difflib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic_settings import BaseSettings

from app.deployment.settings import DeploymentSettings
from app.dicom.settings import DicomSettings
from app.settings import AppSettings
from worker.settings import WorkerSettings

PREFIX = "PROMPTSMOOTH_"
_CLIENTS = frozenset({"PROMPTSMOOTH_SERVER", "PROMPTSMOOTH_API_KEY"})
_TESTS = frozenset({"PROMPTSMOOTH_DATA", "PROMPTSMOOTH_COVERAGE", "PROMPTSMOOTH_SCREENSHOTS"})


class UnreadVariable(NamedTuple):
    """A variable that no program reads, and the setting that was probably meant."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        return self.name if self.meant is None else f"{self.name} (did you mean {self.meant}?)"


def name_variable(settings: type[BaseSettings], name: str) -> str:
    """The variable of the environment that a setting is read from."""
    alias = settings.model_fields[name].validation_alias
    return str(alias or settings.model_config["env_prefix"] + name.upper())


def list_variables() -> frozenset[str]:
    """Every name that begins with PROMPTSMOOTH_ and that some program reads."""
    settings: tuple[type[BaseSettings], ...]
    settings = (AppSettings, WorkerSettings, DeploymentSettings, DicomSettings)
    named = {name_variable(each, name) for each in settings for name in each.model_fields}
    return frozenset(name for name in named if name.startswith(PREFIX)) | _CLIENTS | _TESTS


def find_unread(environment: Mapping[str, str]) -> Iterator[UnreadVariable]:
    """The variables that begin with PROMPTSMOOTH_ and that no program reads, by name."""
    known = list_variables()
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            meant = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.8)
            yield UnreadVariable(name, meant[0] if meant else None)


def find_mounted(environment: Mapping[str, str]) -> Iterator[UnreadVariable]:
    """The folders named for containers, which mount them, and the setting to use without any."""
    known = list_variables()
    for field in DeploymentSettings.model_fields:
        name = name_variable(DeploymentSettings, field)
        meant = name.removesuffix("_DIR")
        if name in environment and meant != name and meant in known:
            yield UnreadVariable(name, meant)
