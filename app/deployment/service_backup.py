"""A backup of the whole service: what Redis holds, and the files that decide who sees it."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from app.server.access.api_keys import KEYS_FILE_NAME
from app.server.jobs.webhooks.key_webhooks import WEBHOOKS_FILE_NAME
from app.settings import AppSettings
from models.files.audit_log import AUDIT_LOG_NAME
from worker.settings import SharedSettings, WorkerSettings
from worker.store.backup import SECRET, BackupManifest, make_backup

KEYS, AUDIT_LOG, SETTINGS = KEYS_FILE_NAME, AUDIT_LOG_NAME, "settings.json"  # names in a backup
EVALUATIONS = "evaluations"
"""Its name in a backup, and in the data folder of `promptsmooth up`."""
WEBHOOKS = WEBHOOKS_FILE_NAME
_SECRETS = (SECRET, WEBHOOKS)  # what they hold is no digest


def find_places(data_dir: Path, settings: WorkerSettings) -> dict[str, Path]:
    """Where this service keeps the files that its backup holds, by their names there."""
    app = AppSettings()
    keys = app.keys_file or data_dir / KEYS_FILE_NAME
    return {
        SECRET: settings.secret_path,
        KEYS: keys,
        WEBHOOKS: app.webhooks_file or keys.with_name(WEBHOOKS),
        AUDIT_LOG: app.audit_log or data_dir / AUDIT_LOG_NAME,
        EVALUATIONS: app.evaluations or data_dir / EVALUATIONS,
    }


def back_up(
    redis: Redis, folder: Path, places: Mapping[str, Path], *, secret: bool
) -> BackupManifest:
    """Writes a backup into a folder that is empty or not there; secrets only if told.

    Raises:
        worker.store.backup.BackupUnusable: the folder holds something already.
    """
    beside: dict[str, Path | bytes] = {
        name: place for name, place in places.items() if secret or name not in _SECRETS
    }
    text = json.dumps(list_settings(), indent=2, sort_keys=True) + "\n"
    return make_backup(redis, folder, {**beside, SETTINGS: text.encode()})


def list_settings() -> dict[str, object]:
    """The settings that were given here, but for paths and secrets, which are a machine's own."""
    return {**_list_given(WorkerSettings()), **_list_given(AppSettings())}


def find_other_settings(folder: Path) -> tuple[str, ...]:
    """The names of settings that the service of a backup was given otherwise than this one."""
    path = folder / SETTINGS
    if not path.is_file():  # a backup of an earlier release
        return ()
    theirs, ours = json.loads(path.read_bytes()), list_settings()
    names = sorted({*theirs, *ours})
    return tuple(name for name in names if theirs.get(name) != ours.get(name))


def _list_given(settings: SharedSettings) -> dict[str, object]:
    own = {
        name
        for name in settings.model_fields_set
        if not isinstance(getattr(settings, name), Path | SecretStr)
    }
    values = settings.model_dump(mode="json", include=own)
    return {f"PROMPTSMOOTH_{name.upper()}": value for name, value in values.items()}
