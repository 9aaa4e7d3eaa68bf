"""Prompts of others: the same numbers, or a sentence that says why not."""

import io
import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.catalogue.text_width import find_text_width
from models.learning.checkpoint import MAX_BYTES, load_ctx
from models.loading.loading import load_vlm
from models.prompts.ctx_file import write_ctx
from models.prompts.files import load_prompt, save_prompt
from models.prompts.imported import ImportRefused, create_import

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = ("benign", "malignant")


@pytest.fixture(scope="module")
def bundled() -> ModelCard:
    return load_catalogue().get("bundled-2")


def save(value: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    def read_content(content: bytes) -> np.ndarray:
        path = tmp_path / "file"
        path.write_bytes(content)
        return load_ctx(path)

    return read_content


def create(ctx: np.ndarray, model: ModelCard, *, text_width: int | None, **changes: object):
    fields = {"prompt_id": "theirs", "class_names": NAMES, "suffix": ".", "created_at": NOW}
    return create_import(ctx, model=model, text_width=text_width, **(fields | changes))


class WarmUp(LRScheduler):
    """A scheduler that hands over to another one, as the published training program has it."""

    def __init__(self, optimiser: SGD, successor: LRScheduler) -> None:
        self.successor = successor
        super().__init__(optimiser)

    def get_lr(self) -> list[float]:
        return [1e-5 for _ in self.base_lrs]


def create_published(ctx: torch.Tensor) -> bytes:
    """A checkpoint as that program writes it after a step of training."""
    parameter = torch.nn.Parameter(ctx.clone())
    optimiser = SGD([parameter], lr=0.002, momentum=0.9)
    scheduler = WarmUp(optimiser, CosineAnnealingLR(optimiser, 50))
    state_dict = {"ctx": ctx, "token_prefix": torch.zeros(2, 1, 512)}
    parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    scheduler.step()
    return save(
        {
            "state_dict": state_dict,
            "epoch": 50,
            "optimizer": optimiser.state_dict(),
            "scheduler": scheduler.state_dict(),
            "val_result": None,
        }
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_published_checkpoint_gives_its_vectors_exactly(read, dtype):
    ctx = torch.randn(5, 512, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = read(create_published(ctx))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ctx.float().numpy())


def test_real_prompts_of_another_study_are_read_exactly(data_folder, bundled):
    folder = data_folder / "coop_prompts_baple"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert len(index) == 14
    for name, said in index.items():
        found = load_ctx(folder / "pt" / f"{name}.pt")
        # the same numbers without pickle, as the data set gives them
        bare = torch.load(folder / "pt" / f"{name}.pt", weights_only=True)
        assert list(found.shape) == said["shape"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.astype(said["dtype"]), bare.numpy())
        card, prompt = create(found, bundled, text_width=512 if found.shape[1] == 512 else 768)
        assert card.sha256 == prompt.sha256
        with pytest.raises(ImportRefused, match="belong to another model"):
            create(found, bundled, text_width=64)
        assert found.mean(dtype=np.float64) == pytest.approx(said["mean"], abs=1e-7)


def test_our_own_files_and_bare_tensors_come_back(read):
    ctx = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    kinds = (write_ctx(ctx), save(torch.tensor(ctx)), save({"ctx": torch.tensor(ctx)}))
    for content in kinds:
        np.testing.assert_array_equal(read(content), ctx)


def test_an_import_is_a_prompt_that_the_model_encodes(read, bundled, tmp_path):
    catalogue = load_catalogue()
    vlm = load_vlm(bundled, catalogue.folder("bundled-2"), torch.device("cpu"))
    words = vlm.embed_text("An image of")
    ctx = read(save(words))
    width = find_text_width(bundled, catalogue.folder("bundled-2"))
    assert width == vlm.text_width
    card, prompt = create(ctx, bundled, text_width=width, licence="MIT")
    assert (card.method, card.weights_sha256) == ("imported", bundled.weights_sha256)
    card, prompt = load_prompt(save_prompt(tmp_path / "prompts", card, prompt))
    texts = [prompt.create_text(name) for name in card.class_names]
    found = vlm.encode_prompts(torch.tensor(prompt.ctx), texts)
    expected = vlm.encode_texts([f"An image of {name}." for name in NAMES])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "text_width", "said"),
    [
        ((16, 768), 512, r"of width 512; got vectors of width 768"),
        ((16, 512), 768, r"of width 768; got vectors of width 512"),
        ((16, 512), 0, r"takes no context vectors"),
        ((2, 16, 512), 512, r"got class-specific ones, \(2, 16, 512\)"),
        ((512,), 512, r"got \(512,\)"),
        ((65, 512), 512, r"1 to 64 context vectors"),
    ],
)
def test_vectors_of_another_model_or_kind_are_refused(bundled, shape, text_width, said):
    with pytest.raises(ImportRefused, match=said):
        create(np.zeros(shape, dtype=np.float32), bundled, text_width=text_width)


def test_vectors_that_leave_no_room_for_a_class_name_are_refused(bundled):
    short = bundled.model_copy(update={"context_length": 10})
    create(np.zeros((7, 64), dtype=np.float32), short, text_width=64)
    with pytest.raises(ImportRefused, match="at most 7 context vectors; got 8"):
        create(np.zeros((8, 64), dtype=np.float32), short, text_width=64)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(bundled, value):
    with pytest.raises(ImportRefused, match="finite"):
        create(np.full((2, 64), value, dtype=np.float32), bundled, text_width=64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_names": ("one",)}, "at least two"),
        ({"class_names": ("one", "one")}, "occurs more than once"),
        ({"class_names": ("one", "One")}, "differ in case, spaces or characters"),
        (
            {"class_names": ("one  two", "one two")},
            "differ in case, spaces or characters",
        ),
        ({"prompt_id": "../x"}, "pattern"),
        ({"suffix": "a\nb"}, "words after the class name"),
    ],
)
def test_what_is_said_with_the_vectors_has_rules(bundled, changes, said):
    with pytest.raises(ValueError, match=said):
        create(np.zeros((2, 64), dtype=np.float32), bundled, text_width=64, **changes)


SHARED = {
    "ctx": torch.zeros(4, 8),
    "token_prefix": torch.zeros(2, 1, 8),
    "token_suffix": torch.zeros(2, 72, 8),
}


@pytest.mark.parametrize(
    "head", ["", "prompt_learner.", "module.prompt_learner.", "_orig_mod.module."]
)
@pytest.mark.parametrize("whole", [False, True], ids=["bare", "checkpoint"])
@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["meta_net.linear1.weight", "meta_net.linear2.bias"], "CoCoOp: its prompt depends on the"),
        (["compound_prompts_text.0", "proj.weight"], "MaPLe"),
        (["compound_prompt_projections.0.weight"], "MaPLe"),
        (["image_encoder.transformer.resblocks.0.VPT_shallow"], "visual prompt tuning"),
        (["image_encoder.conv1.weight"], "image tower"),
        (["adapter.fc.weight"], "further learned tensors, 'adapter.fc.weight'"),
    ],
)
def test_learners_of_more_than_a_shared_context_are_refused_by_name(
    read, others, said, whole, head
):
    tensors = SHARED | {name: torch.zeros(2, 8) for name in others}
    state = {head + name: tensor for name, tensor in tensors.items()}
    with pytest.raises(ImportRefused, match=said):
        read(save({"state_dict": state, "epoch": 10} if whole else state))
    plain = {head + name: tensor for name, tensor in SHARED.items()}
    assert read(save({"state_dict": plain, "epoch": 50})).shape == (4, 8)


@pytest.mark.parametrize("head", ["", "module.prompt_learner."])
@pytest.mark.parametrize(
    ("other", "said"), [("meta_net.linear1.weight", "CoCoOp"), ("compound_prompts_text.0", "MaPLe")]
)
def test_safetensors_of_such_a_learner_are_refused_by_name_too(read, other, said, head):
    state = {head + "ctx": SHARED["ctx"], head + other: torch.zeros(2, 8)}
    with pytest.raises(ImportRefused, match=f"it is a checkpoint of {said}: its prompt"):
        read(safetensors.torch.save(state))


@pytest.mark.parametrize("tokens", ["token_prefix", "token_suffix"])
def test_checkpoint_of_another_number_of_classes_is_refused(tmp_path, tokens):
    path = tmp_path / "model.pth.tar-50"
    path.write_bytes(save({"state_dict": {"ctx": SHARED["ctx"], tokens: SHARED[tokens]}}))
    assert load_ctx(path, num_classes=2).shape == (4, 8)
    for count in (1, 3):
        with pytest.raises(ImportRefused, match=f"learned for, 2; got {count}"):
            load_ctx(path, num_classes=count)


def test_checkpoints_of_the_field_are_taken_or_refused_by_name(data_folder):
    folder = data_folder / "field_files"
    assert load_ctx(folder / "coop.pth.tar-50", num_classes=2).shape == (4, 64)
    with pytest.raises(ImportRefused, match="CoCoOp"):
        load_ctx(folder / "cocoop.pth.tar-10", num_classes=2)


class Harmful:
    """Would run a command where it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def repack(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(file, "w") as made:
        for name in given.namelist():
            made.writestr(name, given.read(name), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def test_code_in_a_pickle_never_runs(read, tmp_path):
    made = tmp_path / "made"
    state = {"state_dict": {"ctx": torch.zeros(2, 8)}, "more": Harmful(made)}
    with pytest.raises(ImportRefused, match=r"posix\.mkdir. It is not loaded"):
        read(save(state))
    with pytest.raises(ImportRefused, match="plain pickle"):
        read(save(state, _use_new_zipfile_serialization=False))
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(100), "damaged or truncated"),
        (b"", "not a safetensors file"),
        (b"word " * 100, "not a safetensors file"),
        (repack(save(torch.zeros(2, 8))), "compressed"),
        (save({"state_dict": {"other": torch.zeros(2)}}), "'ctx'"),
        (save([1, 2]), "got list"),
        (save(torch.zeros(2, 8, dtype=torch.float64)), "got torch.float64"),
        (save(torch.zeros(2, 8, dtype=torch.int32)), "got torch.int32"),
        (save(torch.zeros(1).expand(2**20, 2**20)), "1 to 64 context vectors"),
        (save(torch.zeros(2, 8).to_sparse()), "dense tensor"),
        (save(torch.zeros(3, 2, 8)), "class-specific"),
    ],
)
def test_what_holds_no_vectors_is_a_sentence(read, content, said):
    with pytest.raises(ImportRefused, match=said):
        read(content)


def test_a_checkpoint_that_ends_early_is_a_sentence(read):
    whole = create_published(torch.zeros(2, 512))  # an optimiser takes seconds to import
    with pytest.raises(ImportRefused, match="damaged or truncated"):
        read(whole[:-300])


def test_a_huge_file_is_not_read(read, tmp_path):
    for head in (b"PK\x03\x04", b""):
        path = tmp_path / "huge"
        with path.open("wb") as stream:
            stream.write(head)
            stream.truncate(2**40)  # sparse
        with pytest.raises(ImportRefused, match=r"[Aa]t most"):
            load_ctx(path)
    assert MAX_BYTES < 2**30
