"""What the frozen set asks for, as plain JSON values: no name of the service's own code."""

from typing import Any

import numpy as np

NAMES = ["below", "above"]
TEMPLATE = "The image lies {} the plane."
MEDNIST = ["abdominal CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT"]
PROMPT = {"id": "frozen", "sha256": "b" * 64, "method": "few-shot"}
SUBMITTED_AT = "2026-11-29T09:00:00.123456Z"
JOB_ID, LEARNING_ID, RUN = "0" * 31 + "1", "0" * 31 + "2", "0" * 31 + "3"


def create_image(size: int) -> np.ndarray:
    """Grey values by arithmetic, so that no generator of random numbers is a part of them."""
    values = np.arange(3 * size * size).reshape(3, size, size)
    return (values * 36 % 97 + 79).astype(np.uint8)


def create_request(model: dict[str, str], image_sha256: str, size: int, **changes: Any) -> Any:
    """A request for one certificate of the linear model, apart from what is said."""
    request = {
        "input": {"sha256": image_sha256, "height": size, "width": size, "source": "png"},
        "model": model,
        "targets": [{"prompting": "template", "template": TEMPLATE, "class_names": NAMES}],
        "sigmas": ["0.25"],
        "procedure": {"procedure": "staged", "n_max": 1000, "tolerance": "0"},
    }
    return request | changes


WINDOW = {
    "source": "dicom",
    "window": [40.0, 400.5],
    "window_origin": "request",
    "frame": 2,
    "frames": 5,
    "notes": ["MONOCHROME1 was inverted"],
}
COHEN = {"procedure": "cohen", "n0": 20, "n": 300}
OTHER_TARGET = {"prompting": "template", "template": "It is {}.", "class_names": NAMES[::-1]}

# Certified on the linear model, whose votes are exact on every machine.
LINEAR: dict[str, dict[str, Any]] = {
    "one-sigma": {},
    "several-sigmas": {
        "sigmas": ["0.50", "0.1", "0.25"],
        "procedure": {"procedure": "staged", "n_max": 2000, "minimum_radius": "0.03"},
        "alpha": "0.01",
        "attempt": 4,
    },
    "target-radius": {
        "sigmas": ["0.12"],
        "procedure": {"procedure": "staged", "n_max": 4000, "target_radius": "0.10"},
    },
    "cohen": {"sigmas": ["0.1", "2"], "procedure": COHEN},
    "joint": {
        "targets": [create_request({}, "", 0)["targets"][0], OTHER_TARGET],
        "procedure": COHEN,
        "joint": True,
        "images": 3,
    },
    "window": {"input": WINDOW},
}


def _create_targets(prompt: dict[str, str]) -> list[dict[str, Any]]:
    words = {"template": "A {} image.", "class_names": MEDNIST}
    tuning = {"copies": 8, "steps": 2, "learning_rate": 0.01, "weight_decay": 0.0}
    return [
        {"prompting": "template", **words},
        {"prompting": "few-shot", "prompt": prompt, "class_names": MEDNIST},
        {"prompting": "zero-shot", **words, "tuning": {"copies": 16}},
        {
            "prompting": "few-shot+zero-shot",
            "prompt": prompt,
            "class_names": MEDNIST,
            "tuning": tuning,
        },
        {
            "prompting": "routed",
            "bank": [prompt, {"template": "A {} image."}],
            "class_names": MEDNIST,
        },
    ]


def create_promptings(prompt: dict[str, str]) -> dict[str, Any]:
    """One target of every prompting, for the bundled model."""
    procedure = {"procedure": "staged", "n_max": 64}
    return {"targets": _create_targets(prompt), "sigmas": ["0.25"], "procedure": procedure}


# Requests that are only named by their digests.
NAMED: dict[str, dict[str, Any]] = {
    **LINEAR,
    "no-window": {"input": {"source": "jpeg", "window_origin": "percentile"}},
    "images-apart": {"images": 7},
    "every-prompting": create_promptings(PROMPT),
    "zero-shot": {
        "targets": [
            {"prompting": "zero-shot", "template": "A {} image.", "class_names": MEDNIST},
        ]
    },
    "tuned-prompt": {
        "targets": [
            {
                "prompting": "few-shot",
                "prompt": PROMPT | {"method": "zero-shot"},
                "class_names": MEDNIST,
            }
        ]
    },
}

# The toy of two prompts, "A {}" and "B {}".
ROUTED = {
    "targets": [
        {
            "prompting": "routed",
            "bank": [{"template": "A {}"}, {"template": "B {}"}],
            "class_names": ["benign", "malignant"],
        }
    ],
    "procedure": {"procedure": "staged", "n_max": 2000, "tolerance": "0"},
}


def create_job(request: Any) -> Any:
    """The job of a request, with everything that else is drawn."""
    return {"id": JOB_ID, "request": request, "submitted_at": SUBMITTED_AT}


def create_learning(model: dict[str, str], images: list[str], size: int) -> Any:
    """A learning of two epochs from an image of each of two classes."""
    settings = {
        "preset": "default",
        "ctx_init": "A",
        "suffix": " image.",
        "shots": 1,
        "epochs": 2,
        "learning_rate": 0.02,
        "max_gradient_norm": 1.0,
        "noise_levels": [0.0, 0.1],
        "augment": False,
    }
    request = {
        "prompt_id": "light",
        "model": model,
        "class_names": ["dark image", "bright image"],
        "settings": settings,
        "size": size,
        "images": [{"sha256": sha256, "class_index": i} for i, sha256 in enumerate(images)],
    }
    return {"id": LEARNING_ID, "request": request, "submitted_at": SUBMITTED_AT}


def create_card(model: dict[str, str], sha256: str) -> Any:
    """The card of the frozen prompt."""
    return {
        "id": "frozen",
        "model": model["id"],
        "weights_sha256": model["sha256"],
        "method": "few-shot",
        "class_names": MEDNIST,
        "n_ctx": 4,
        "width": 64,
        "suffix": " image.",
        "ctx_init": "A",
        "sha256": sha256,
        "created_at": SUBMITTED_AT,
        "description": "By arithmetic.",
        "licence": "CC0-1.0",
    }


def create_ctx() -> np.ndarray:
    """Context vectors that float32 holds exactly."""
    return ((np.arange(4 * 64) - 128) / 4096).astype(np.float32).reshape(4, 64)


def create_posting(model: dict[str, str], identity: Any) -> Any:
    """What a run of several hosts puts up."""
    text = {"kind": "template", "template": TEMPLATE, "class_names": NAMES}
    keys = [
        {"phase": phase, "low": low, "high": 2**64 - 1}
        for low, phase in enumerate(("selection", "estimation"))
    ]
    session = {"model": model, "height": 16, "width": 16, "sigmas": ["0.25"], "keys": keys}
    return {
        "session": session | {"ballots": [[{"kind": "classes", "text": text}]]},
        "identity": identity,
    }


def create_report(identity: Any) -> Any:
    """A worker host as it announces itself."""
    return {
        "name": "host-00000000",
        "started_at": SUBMITTED_AT,
        "ready": True,
        "key_commitment": "a" * 64,
        "models": [identity],
        "samples_per_s": {"linear": 1000.0},
        "states": [{"model": identity["model"], "state": "ready", "memory_bytes": 3}],
        "state": "ready",
        "restarts": {"engine": 1},
        "figures": {"batches": 1, "rows": 64, "samples": 60, "batch_s": 0.5},
    }


def create_question(identity: Any, key_commitment: str) -> Any:
    """The header of an evaluation of two images of the linear model."""
    request = create_request(identity["model"], "0" * 64, 16)
    return {
        "dataset": "frozen",
        "split": "test",
        "images": 2,
        "seed": 1,
        "listing_sha256": "e" * 64,
        "identity": identity,
        "targets": request["targets"],
        "sigmas": request["sigmas"],
        "procedure": request["procedure"],
        "alpha": "0.001",
        "key_commitment": key_commitment,
    }


EVALUATED = {
    "place": 1,
    "file": "above/1.png",
    "class_index": 1,
    "samples": 1000,
    "seconds": 0.5,
    "sitting": 0,
    "elapsed_s": 0.75,
}


# Keys as `promptsmooth keys` wrote them, and the key itself; it opens nothing else.
API_KEY = "psk_0a1b2c3d_" + "5e" * 32
API_KEYS = """\
# Keys of promptsmooth-service, as digests. Written by: promptsmooth keys
[[keys]]
id = "0a1b2c3d"
label = "a lab"
sha256 = "{sha256}"
scopes = ["submit", "read"]
created_at = 2026-11-29 09:00:00+00:00

[keys.quotas]
requests_per_minute = 1
jobs = 10
samples_per_day = 1000000
"""
