"""A model whose image tower OpenVINO computes on the CPU, from integer pixels to features.

torch's tower is converted once, compiled for one batch shape and one precision, and run from then
on. Texts stay with torch, and so does every gradient.

OpenVINO would choose a precision by the processor if it were left alone. Here it is told one and
asked afterwards which one it took, because the precision belongs to f (CERTIFICATE 4).
"""

import copy
import ctypes
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from models.catalogue.cards import Precision
from models.files.untrusted_text import one_line
from models.vlm._imports import get_openvino
from models.vlm.onnx_classifier import OnnxClassifier
from models.vlm.put_aside import WeightsAside
from models.vlm.quantized import QuantizedNetwork
from models.vlm.vlm import VLM, TextsOfBase, check_pixels

KERNELS = "openvino"
"""The first word of what names these kernels in an identity."""

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of other layers
_TRACED_ROWS = 2  # tracing computes them by torch: a whole batch of a Swin took 1 GB more
_LEAST_ROWS = 8  # of a piece: fewer would read all weights for little work
_Layer = tuple[Any, str]  # an operation that OpenVINO executes, and its kind
_tracing = threading.Lock()  # one module at a time, for all are forgotten after it
_MULTIPLYING = {"FullyConnected", "MatMul", "Convolution"}  # layers whose kernels are named


class CannotCompile(ValueError):
    """OpenVINO cannot compute this model's image tower here as it was asked to."""


class ToweredVLM(VLM, Protocol):
    """A model of which the image tower is a module that can be compiled."""

    @property
    def image_tower(self) -> torch.nn.Module:
        """The module that turns normalised pixels into features."""


@final
class CompiledVLM(TextsOfBase):
    """A frozen model whose image tower was compiled for the CPU. Implements `VLM`.

    A batch is cut into pieces of one shape, which run side by side, each on threads of its own: on
    a busy machine, threads that share a piece wait for one another at every layer. The last piece
    is padded.

    Memory holds the image tower's weights once, as OpenVINO packs them: `packed_bytes`. Those of
    `base`, `aside_bytes`, lie in a file, from which a gradient reads them.

    Args:
        base: the model on the CPU, its image tower in float32, which moves into that file.
        precision: what OpenVINO computes in.
        rows: the batch shape that the pieces are made for; None takes the card's.
        threads: the number of threads; None takes torch's.
        aside: the folder of the file; None takes the system's for temporary files.
        quantized: the image tower in int8, if this is the precision.

    Raises:
        CannotCompile: OpenVINO is not installed, lacks an operation of the tower, or does not
            compute in this precision on this processor; or the folder does not take the file.
    """

    base: ToweredVLM | OnnxClassifier
    _requests: list[Any]

    def __init__(
        self,
        base: ToweredVLM | OnnxClassifier,
        precision: Precision,
        *,
        rows: int | None = None,
        threads: int | None = None,
        aside: Path | None = None,
        quantized: QuantizedNetwork | None = None,
    ) -> None:
        if (precision == "int8") != (quantized is not None):
            raise CannotCompile("int8 needs an image tower that was quantized, and only that")
        self.base, self.precision = base, precision
        self.card, self.device = base.card, base.device
        self.embed_dim, self.logit_scale = base.embed_dim, base.logit_scale
        self.text_width = base.text_width
        self._rows = rows or base.card.batch_size["cpu"]
        self._openvino = _require_openvino()
        self._aside = None
        if not isinstance(base, OnnxClassifier):
            self._aside = _put_aside(base.image_tower, aside)
        self.aside_bytes = 0 if self._aside is None else self._aside.size_bytes
        self._quantized = quantized
        self._network = self._create_network()
        self._compile(threads or torch.get_num_threads())

    def _create_network(self) -> Any:
        if self._quantized is not None:
            return _attempt(self._quantized.read)
        base = self.base
        if isinstance(base, OnnxClassifier):
            return _attempt(lambda: base.create_network(base.batch or self._rows))
        return _attempt(lambda: convert(base, self._rows, torch.int16))

    def _compile(self, threads: int) -> None:
        streams = max(1, min(threads, self._rows // _LEAST_ROWS))
        self._piece = -(-self._rows // streams)
        if isinstance(self.base, OnnxClassifier) and self.base.batch is not None:
            self._piece = self.base.batch
        compiled = _attempt(
            lambda: _compile(self._network, self.precision, self._piece, threads, streams)
        )
        self._compiled = compiled
        layers = list(_list_layers(compiled))
        self.packed_bytes = _count_bytes(layers, self.precision)
        self._outputs = len(compiled.outputs)
        self._streams, self._requests = streams, []
        self.kernels = f"{KERNELS} {self._openvino.get_version()} {_name_kernels(layers)}"

    def compile_again(self, *, threads: int) -> "CompiledVLM":
        """The same model, compiled once more. Raises the error of the class."""
        again = copy.copy(self)
        if again._network is None:
            again._network = self._create_network()
        again._compile(threads)
        return again

    def settle(self) -> None:
        """Gives back the memory of compiling, and that of batches until the next one needs it."""
        self._network = None
        self._requests = []  # each holds the pixels of its last piece
        self._compiled.release_memory()
        for one in (self._aside, self._quantized):
            if one is not None:
                one.leave_memory()
        _trim_heap()

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`. One thread at a time may call it."""
        return self._encode(pixels, outputs=1)

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Features, and beside them the logits of an ONNX network: float32 (B, D) or (B, 2 D)."""
        return self._encode(pixels, outputs=self._outputs)

    def _encode(self, pixels: Tensor, *, outputs: int) -> Tensor:
        check_pixels(pixels, self.card.preprocessing.size)
        at_once = self._piece * self._streams
        parts = pixels.contiguous().split(at_once)
        return torch.cat([self._infer(part, outputs) for part in parts])

    def _infer(self, part: Tensor, outputs: int) -> Tensor:
        """Outputs of at most as many rows as run at once, in a tensor of their own."""
        if self._quantized is not None:
            part = part.to(torch.float32)  # exact; OpenVINO's int8 takes no int16
        pieces = part.split(self._piece)
        whole = [self._pad(piece) for piece in pieces]  # alive until the last request has ended
        while len(self._requests) < len(pieces):
            self._requests.append(self._compiled.create_infer_request())
        running = self._requests[: len(pieces)]
        for request, pixels in zip(running, whole, strict=True):
            request.set_input_tensor(self._openvino.Tensor(pixels.numpy(), shared_memory=True))
            request.start_async()
        for request in running:
            request.wait()
        found = [
            torch.cat([torch.from_numpy(one.get_output_tensor(at).data) for one in running])
            for at in range(outputs)
        ]
        return torch.cat(found, dim=1)[: len(part)] if outputs > 1 else found[0][: len(part)]

    def _pad(self, piece: Tensor) -> Tensor:
        if len(piece) == self._piece:
            return piece
        whole = piece.new_zeros(self._piece, *piece.shape[1:])
        whole[: len(piece)] = piece
        return whole

    def encode_levels(self, levels: Tensor) -> Tensor:
        """See `VLM.encode_levels`. torch computes it, through the tower as it was."""
        return self.base.encode_levels(levels)


@final
class _ImagePath(torch.nn.Module):
    """What is converted: pixels in, features out. Grey levels in float32 are pixels too."""

    def __init__(self, base: VLM) -> None:
        super().__init__()
        self._base = base
        parts = [part for part in vars(base).values() if isinstance(part, torch.nn.Module)]
        self._parts = torch.nn.ModuleList(parts)  # their weights are shared, not copied

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.is_floating_point():
            return self._base.encode_levels(pixels)
        return self._base.encode_images(pixels)


def load_openvino() -> None:
    """Loads OpenVINO's libraries for CPUs, which the first compilation would load otherwise.

    Raises:
        CannotCompile: OpenVINO is not installed.
    """
    core = _require_openvino().Core()
    _attempt(lambda: core.get_property("CPU", "FULL_DEVICE_NAME"))


def _require_openvino() -> Any:
    try:
        return get_openvino()
    except ImportError as error:
        raise CannotCompile(f"OpenVINO cannot be imported here ({error})") from error


def _attempt(compiling: Callable[[], Any]) -> Any:
    """The result of a function that calls OpenVINO, whose errors have no base of their own."""
    try:
        return compiling()
    except (MemoryError, CannotCompile):
        raise
    except Exception as error:
        reason = one_line(error)[-200:]  # the end names what was wrong
        raise CannotCompile(
            f"OpenVINO cannot compile the image tower ({type(error).__name__}: {reason})"
        ) from error


def _put_aside(tower: torch.nn.Module, folder: Path | None) -> WeightsAside:
    try:
        return WeightsAside(tower, folder)
    except OSError as error:
        raise CannotCompile(
            f"the image tower's weights cannot be put aside in {folder or 'the temporary folder'} "
            f"({error.strerror})"
        ) from error


def _compile(network: Any, precision: Precision, rows: int, threads: int, streams: int) -> Any:
    """The network compiled for batches of so many rows."""
    core = get_openvino().Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise CannotCompile(
            "this processor has no bf16 arithmetic; choose fp32 (PROMPTSMOOTH_CPU_PRECISION)"
        )
    network.reshape([rows, *network.inputs[0].get_shape()[1:]])
    hint = _HINTS[precision]
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": str(streams),
            "ENABLE_CPU_PINNING": False,  # other processes of the host need the cores too
        },
    )
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != hint:
        raise CannotCompile(f"OpenVINO was told to compute in {hint} and would compute in {taken}")
    return compiled


def convert(base: ToweredVLM, rows: int, dtype: torch.dtype) -> Any:
    """The network of the image tower for batches of this shape.

    Its constants are the tower's tensors, not copies of them. It takes pixels as int16, or as
    float32.
    """
    from openvino.frontend import FrontEndManager

    size = base.card.preprocessing.size
    pixels = torch.zeros(_TRACED_ROWS, 3, size, size, dtype=dtype)
    frontend = FrontEndManager().load_by_framework("pytorch")
    with _tracing:
        try:
            traced = _trace(base, pixels)  # OpenVINO only borrows it
            network = frontend.convert(frontend.load(traced))
        finally:
            _forget_traced()
    network.reshape([rows, *pixels.shape[1:]])
    return network


def _trace(base: ToweredVLM, pixels: Tensor) -> Any:
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Tracing warns of shapes that it takes as fixed. They are.
    with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")
        return TorchScriptPythonDecoder(
            _ImagePath(base).eval(), example_input=(pixels,), trace_kwargs={"check_trace": False}
        )


def _forget_traced() -> None:
    """Empties torch's registries of traced modules, which would keep the graph of each for ever.

    No module that was traced or scripted before may be called after this: torch would crash.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._state._clear_class_state()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()


def _trim_heap() -> None:
    """Returns freed memory to the system, where the C library has a function for this."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _count_bytes(layers: Iterable[_Layer], precision: Precision) -> int:
    """The bytes of a compiled network's constants, which are more than its weights.

    OpenVINO spreads the bias of a Swin's windows over the batch.
    """
    item = {"f32": 2 if precision == "bf16" else 4, "i8": 1, "u8": 1}
    return sum(
        math.prod(one.get_output_shape(0)) * item.get(one.get_element_type().get_type_name(), 0)
        for one, kind in layers
        if kind == "Const"
    )


def _name_kernels(layers: Iterable[_Layer]) -> str:
    """The kernels of a compiled network's matrix products, whose names hold the instruction set."""
    multiplying = (one for one, kind in layers if kind in _MULTIPLYING)
    found = {one.get_rt_info()["primitiveType"].astype(str) for one in multiplying}
    return " ".join(sorted(found))


def _list_layers(compiled: Any) -> Iterator[_Layer]:
    """The operations that OpenVINO executes, each with its kind."""
    for operation in compiled.get_runtime_model().get_ops():
        about = operation.get_rt_info()
        if "layerType" in about:
            yield operation, about["layerType"].astype(str)
