"""Drafts the card of a model that nobody has described, from its published configuration."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from models.catalogue.cards import Preprocessing, SourceForm, check_model_id
from models.catalogue.weights import ConfigMismatch
from models.files.untrusted_text import one_line
from models.forms.files import get_part, load_json
from models.forms.form import FormRefused
from models.forms.hugging_face.clip_config import convert_config
from models.forms.hugging_face.processor import PROCESSORS, read_preprocessing
from models.loading.loading import CONFIG
from models.vlm._imports import get_open_clip

_HF_CONFIG = "config.json"
_COMPLETE = "complete this"
_NOT_CLINICAL = "Research. Not for clinical use: never for a patient, a diagnosis or a decision."


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a published configuration states of a model.

    Attributes:
        form: the published form.
        model_cfg: the architecture in open_clip's words.
        preprocessing: of its images.
        is_stated: whether the files state the preprocessing; otherwise it is the library's default.
    """

    form: SourceForm
    model_cfg: Mapping[str, Any]
    preprocessing: Preprocessing
    is_stated: bool


def draft_card(path: Path, config: Path | None = None) -> Draft:
    """Reads what the configuration in a folder, or beside a weights file, states.

    Raises:
        FormRefused: there is no configuration of a known form, or the model needs no card.
        WeightsError: the configuration is damaged, or asks for what no card can describe.
    """
    if path.suffix == ".onnx":
        raise FormRefused(
            "No card is drafted of an ONNX network, which says nothing of its classes, mean and "
            "standard deviation: the guide shows one to copy (docs/models.md, An image classifier "
            "of your own)."
        )
    place = path if path.is_dir() else path.parent
    for name, read in ((CONFIG, _read_open_clip), (_HF_CONFIG, _read_hf_clip)):
        found = config if config is not None and config.name == name else place / name
        if found.is_file():
            return read(found)
    raise FormRefused(
        f"Expected {CONFIG} of open_clip, or {_HF_CONFIG} of a CLIPModel, in {place}: a card is "
        "drafted from it. Weights alone state no architecture. MedCLIP needs no card of yours: "
        "promptsmooth models list shows the ids of its models."
    )


def suggest_id(path: Path) -> str:
    """A model id like the folder's or the file's name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.resolve().stem.lower()).strip("-._")[:64]
    return check_model_id(name or "our-vlm")


def _read_open_clip(path: Path) -> Draft:
    whole = load_json(path)
    model_cfg, said = (
        get_part(whole, "model_cfg", CONFIG),
        get_part(whole, "preprocess_cfg", CONFIG),
    )
    text_cfg = get_part(model_cfg, "text_cfg", CONFIG)
    size = get_part(model_cfg, "vision_cfg", CONFIG).get("image_size", 224)
    own = get_open_clip().transform.PreprocessCfg()
    fields = {"mean": own.mean, "std": own.std, "interpolation": own.interpolation}
    fields |= {"resize": own.resize_mode, "size": size}
    names = {
        "mean": "mean",
        "std": "std",
        "interpolation": "interpolation",
        "resize": "resize_mode",
    }
    fields |= {ours: said[theirs] for ours, theirs in names.items() if said.get(theirs) is not None}
    return Draft(
        form="open-clip-bert" if "hf_model_name" in text_cfg else "open-clip",
        model_cfg=model_cfg,
        preprocessing=_check(path, fields),
        is_stated=bool(said),
    )


def _read_hf_clip(path: Path) -> Draft:
    model_cfg = convert_config(load_json(path))
    stated = next(filter(Path.is_file, map(path.with_name, PROCESSORS)), None)
    if stated is not None:
        preprocessing = read_preprocessing(stated.name, load_json(stated))
    else:
        preprocessing = read_preprocessing(PROCESSORS[0], {})
        size = model_cfg["vision_cfg"]["image_size"]
        preprocessing = preprocessing.model_copy(update={"size": size})
    return Draft(
        form="hf-clip",
        model_cfg=model_cfg,
        preprocessing=preprocessing,
        is_stated=stated is not None,
    )


def _check(path: Path, fields: Mapping[str, Any]) -> Preprocessing:
    try:
        return Preprocessing.model_validate(fields)
    except ValidationError as error:
        raise ConfigMismatch(
            f"{path.name}: preprocess_cfg", expected="what a card can state", found=one_line(error)
        ) from error


def format_draft(
    draft: Draft, model_id: str, *, class_names: tuple[str, ...] = (), template: str | None = None
) -> str:
    """The card as TOML. Lines that only a person can write say so.

    Without class names the card lacks them, so that `models add` refuses it until it is completed.
    """
    return "\n".join(_lines(draft, model_id, class_names, template)) + "\n"


def _lines(
    draft: Draft, model_id: str, class_names: tuple[str, ...], template: str | None
) -> Iterator[str]:
    text_cfg = draft.model_cfg.get("text_cfg", {})
    quick = bool(draft.model_cfg.get("quick_gelu", False))
    yield f"# Drafted from the model's configuration. What says “{_COMPLETE}”, only you know."
    yield f"# Then: promptsmooth models add {model_id} PATH --card THIS-FILE"
    yield _line("id", model_id)
    yield _line("name", model_id, f"{_COMPLETE}: as people call it")
    yield _line("description", "", f"{_COMPLETE}: what it is, and what it was trained on")
    yield _line("intended_use", _NOT_CLINICAL)
    yield _line("licence", "not known", f"{_COMPLETE}: the licence of the weights")
    yield _line("source", "not stated", f"{_COMPLETE}: where the weights come from")
    yield _line("architecture", "open_clip")
    activation = "quick_gelu" if quick else "gelu"
    yield _line("activation", activation, "as the configuration says; no tensor shows it")
    yield _line("context_length", text_cfg.get("context_length", 77))
    names = json.dumps(class_names or ("FIRST CLASS", "SECOND CLASS"), ensure_ascii=False)
    if class_names:
        yield f"class_names = {names}"
    else:
        yield f"# class_names = {names}  # {_COMPLETE}: what images are compared with"
    yield _line("template", template or "An image of {}.", "" if template else _COMPLETE)
    if not draft.is_stated:
        yield ""
        yield "# The files state no preprocessing: these are the library's defaults. Compare them"
        yield "# with how the model was trained."
    yield ""
    published = {"form": draft.form, "model_cfg": _without_null(draft.model_cfg)}
    tables = {"preprocessing": draft.preprocessing.model_dump(mode="json"), "published": published}
    yield tomli_w.dumps(tables).rstrip()


def _without_null(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without keys that are null, which TOML has no word for."""
    return {
        key: _without_null(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value is not None
    }


def _line(key: str, value: object, comment: str = "") -> str:
    line = tomli_w.dumps({key: value}).strip()
    return f"{line}  # {comment}" if comment else line
