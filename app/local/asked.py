"""What the options of `promptsmooth certify` ask for."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CertifyOptions:
    """A certification as a person asked for it; decimals are still text."""

    sigmas: tuple[str, ...]
    model: str | None
    promptings: tuple[str, ...]
    prompts: tuple[str, ...]
    class_names: tuple[str, ...] | None
    template: str | None
    procedure: str
    n: int
    n0: int
    target_radius: str | None
    tolerance: str
    joint: bool
    alpha: str
    attempt: int
    frame: int | None
    window: str | None

    @property
    def fields(self) -> dict[str, Any]:
        """As POST /certify takes them."""
        return {
            "sigma": self.sigmas,
            "model": self.model,
            "prompting": self.promptings,
            "prompt": self.prompts,
            "class_name": self.class_names,
            "template": self.template,
            "procedure": self.procedure,
            "joint": "true" if self.joint else "false",
            "alpha": self.alpha,
            "attempt": str(self.attempt),
            "frame": None if self.frame is None else str(self.frame),
            "window": self.window,
            **self._procedure_fields,
        }

    @property
    def _procedure_fields(self) -> dict[str, str | None]:
        if self.procedure == "cohen":
            return {"n": str(self.n), "n0": str(self.n0)}
        return {
            "n_max": str(self.n),
            "target_radius": self.target_radius,
            "tolerance": self.tolerance,
        }
