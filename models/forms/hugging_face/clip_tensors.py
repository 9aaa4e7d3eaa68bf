"""Converts the tensors of a Hugging Face CLIPModel to those of open_clip's CLIP, exactly.

    text_model.embeddings.token_embedding.weight     token_embedding.weight
    text_model.embeddings.position_embedding.weight  positional_embedding
    text_model.encoder.layers.i                      transformer.resblocks.i
    text_model.final_layer_norm                      ln_final
    text_projection.weight                           text_projection, transposed
    vision_model.embeddings.class_embedding          visual.class_embedding
    vision_model.embeddings.patch_embedding.weight   visual.conv1.weight
    vision_model.embeddings.position_embedding.weight  visual.positional_embedding
    vision_model.pre_layrnorm (so spelled)           visual.ln_pre
    vision_model.encoder.layers.i                    visual.transformer.resblocks.i
    vision_model.post_layernorm                      visual.ln_post
    visual_projection.weight                         visual.proj, transposed
    logit_scale                                      logit_scale

Within a layer, self_attn.{q,k,v}_proj are stacked to attn.in_proj_; self_attn.out_proj,
layer_norm1, layer_norm2, mlp.fc1 and mlp.fc2 become attn.out_proj, ln_1, ln_2, mlp.c_fc and
mlp.c_proj. The two position_ids count from 0 and are dropped. All values stay the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor

from models.catalogue.weights import ConfigMismatch
from models.loading.loading import create_clip
from models.loading.state_dict import check_state_dict

DROPPED = (
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
)
_WITHIN_A_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOWERS = {
    "transformer": "text_model.encoder",
    "visual.transformer": "vision_model.encoder",
}
_NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
}
_SINGLE = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}


class How(Enum):
    """How the source tensors become the converted one."""

    KEPT = auto()
    TRANSPOSED = auto()
    STACKED = auto()


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One tensor of open_clip's CLIP and the CLIPModel tensors that it is made from."""

    name: str
    sources: tuple[str, ...]
    how: How = How.KEPT

    def convert(self, found: Mapping[str, Tensor]) -> Tensor:
        """Returns the converted tensor."""
        parts = [found[source] for source in self.sources]
        if self.how is How.STACKED:
            return torch.cat(parts)
        return parts[0].T.contiguous() if self.how is How.TRANSPOSED else parts[0].contiguous()

    def expect(self, wanted: Tensor) -> dict[str, Tensor]:
        """Returns source tensors of the shapes that `convert` turns into the shape of `wanted`."""
        if self.how is How.STACKED:
            return dict(zip(self.sources, wanted.chunk(len(self.sources)), strict=True))
        return {self.sources[0]: wanted.T if self.how is How.TRANSPOSED else wanted}


def list_leaves(model_cfg: Mapping[str, Any]) -> Iterator[Leaf]:
    """Yields every tensor of open_clip's CLIP with its sources."""
    for name, source in _SINGLE.items():
        yield Leaf(name=name, sources=(source,))
    for name, source in _TRANSPOSED.items():
        yield Leaf(name=name, sources=(source,), how=How.TRANSPOSED)
    for name, source in _NORMS.items():
        yield from _list_pair(name, source)
    layers = (model_cfg["text_cfg"]["layers"], model_cfg["vision_cfg"]["layers"])
    for (tower, encoder), count in zip(_TOWERS.items(), layers, strict=True):
        for i in range(count):
            yield from _list_layer(f"{tower}.resblocks.{i}", f"{encoder}.layers.{i}")


def _list_layer(name: str, source: str) -> Iterator[Leaf]:
    for ours, theirs in _WITHIN_A_LAYER.items():
        yield from _list_pair(f"{name}.{ours}", f"{source}.{theirs}")
    for kind in ("weight", "bias"):
        parts = tuple(f"{source}.self_attn.{part}_proj.{kind}" for part in "qkv")
        yield Leaf(name=f"{name}.attn.in_proj_{kind}", sources=parts, how=How.STACKED)


def _list_pair(name: str, source: str) -> Iterator[Leaf]:
    for kind in ("weight", "bias"):
        yield Leaf(name=f"{name}.{kind}", sources=(f"{source}.{kind}",))


def convert_clip(found: Mapping[str, Tensor], model_cfg: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the state dict of open_clip's CLIP from that of a CLIPModel.

    Raises:
        StateDictMismatch: a tensor of CLIPModel is missing, unexpected or of another shape than
            the architecture has. The error uses the tensor's name in `found`.
        ConfigMismatch: no CLIPModel has this architecture.
    """
    with torch.device("meta"):
        wanted: dict[str, Tensor] = create_clip(model_cfg).state_dict()
    leaves = {leaf.name: leaf for leaf in list_leaves(model_cfg)}
    if other := sorted(wanted.keys() ^ leaves.keys()):
        raise ConfigMismatch("model_cfg", expected="CLIPModel's tensors", found=other[0])
    expected: dict[str, Tensor] = {}
    for name, leaf in leaves.items():
        expected |= leaf.expect(wanted[name])
    check_state_dict(expected, {k: v for k, v in found.items() if k not in DROPPED})
    return {name: leaf.convert(found) for name, leaf in leaves.items()}
