"""A lab's own ONNX classifier: taken as it is, or refused with what is wrong; nothing crashes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper
from onnx_networks import (
    CARD,
    CLASSES,
    SIZE,
    compute_logits,
    create_network,
    create_nodes,
    create_weights,
    describe,
    write_network,
)

from models.catalogue.cards import parse_description
from models.catalogue.weights import NetworkRefused
from models.forms.form import FormRefused
from models.installation.add import add_model
from models.installation.archive import add_bundle, write_bundle
from models.installation.folder import describe_file
from models.loading.apart import try_apart
from models.loading.loading import load_vlm
from models.loading.onnx.take_in import take_in
from models.vlm.base_classifier import create_base_classifier

CPU = torch.device("cpu")
NODES = create_nodes()
PIXELS = torch.from_numpy(
    np.random.default_rng(1).integers(-300, 500, (37, 3, SIZE, SIZE)).astype(np.int16)
)


def add(tmp_path: Path, model: onnx.ModelProto | None = None, description=None):
    path = write_network(tmp_path, model)
    return add_model(description or describe(), path, tmp_path / "models")


def take(tmp_path: Path, model: onnx.ModelProto) -> None:
    """What a process of its own does first when a network is added, done in this one."""
    (tmp_path / "taken").mkdir()
    take_in(describe(), write_network(tmp_path, model), tmp_path / "taken")


@pytest.mark.parametrize("batch", ["batch", 1, 5])
def test_a_network_answers_as_torch_does_whatever_batch_it_was_exported_for(tmp_path, batch):
    added = add(tmp_path, create_network(batch=batch))
    vlm = load_vlm(added.card, added.folder, CPU)
    features = vlm.encode_images(PIXELS)
    logits = compute_logits(create_weights(), PIXELS)
    torch.testing.assert_close(features, logits.softmax(dim=1).sqrt(), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(PIXELS)), rtol=0, atol=1e-5)
    classifier = create_base_classifier(vlm, "{}", CLASSES)
    assert torch.equal(classifier(PIXELS).argmax(dim=1), logits.argmax(dim=1))


def test_classes_may_be_a_part_of_the_cards_in_any_order_and_no_others(tmp_path):
    added = add(tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    some = create_base_classifier(vlm, "{}", (CLASSES[2], CLASSES[0]))
    logits = compute_logits(create_weights(), PIXELS)[:, [2, 0]]
    assert torch.equal(some(PIXELS).argmax(dim=1), logits.argmax(dim=1))
    with pytest.raises(ValueError, match="knows the classes of its card alone; 'effusion'"):
        create_base_classifier(vlm, "{}", (CLASSES[0], "effusion"))
    with pytest.raises(ValueError, match="takes no context vectors"):
        vlm.encode_prompts(torch.zeros(4, 8), CLASSES)
    with pytest.raises(ValueError, match="gives no gradient"):
        vlm.encode_levels(PIXELS.float())


def test_a_whole_network_is_kept_byte_for_byte(tmp_path):
    added = add(tmp_path)
    assert (added.folder / "classifier.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
    (origin,) = added.card.origin.files
    (kept,) = added.card.files
    assert kept.sha256 == origin.sha256


def write_external(tmp_path: Path) -> onnx.ModelProto:
    model = create_network()
    external_data_helper.convert_model_to_external_data(
        model, location="net.data", size_threshold=0
    )
    onnx.save_model(model, tmp_path / "net.onnx")
    return onnx.load_model(tmp_path / "net.onnx", load_external_data=False)


def test_data_beside_a_network_is_taken_into_it(tmp_path):
    write_external(tmp_path)
    added = add_model(describe(), tmp_path / "net.onnx", tmp_path / "models")
    assert [file.name for file in added.card.origin.files] == ["net.onnx", "net.data"]
    vlm = load_vlm(added.card, added.folder, CPU)
    wanted = compute_logits(create_weights(), PIXELS).softmax(dim=1).sqrt()
    torch.testing.assert_close(vlm.encode_images(PIXELS), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("location", "../net.data", "in a file of the network's own folder"),
        ("location", "/etc/passwd", "in a file of the network's own folder"),
        ("location", "..\\net.data", "in a file of the network's own folder"),
        ("location", "", "in a file of the network's own folder"),
        ("location", "absent.data", "in a file of the network's own folder"),
        ("location", "link.data", "in a file of the network's own folder"),
        ("offset", "99999999", "ends beyond the end"),
        ("offset", "-1", "not a place in a file"),
        ("offset", "9" * 40, "not a place in a file"),
    ],
)
def test_data_elsewhere_is_never_read(tmp_path, key, value, said):
    home = tmp_path / "home"
    home.mkdir()
    model = write_external(home)
    shutil.copy(home / "net.data", tmp_path / "net.data")
    (home / "link.data").symlink_to(tmp_path / "net.data")
    tensor = model.graph.initializer[1]
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    (home / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NetworkRefused, match=said):
        add_model(describe(), home / "net.onnx", tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


def random_node(name: str) -> list:
    noise = helper.make_node(name, ["seen"], ["noise"])
    return [NODES[0], noise, helper.make_node("Relu", ["noise"], ["lit"]), *NODES[2:]]


def create_branch() -> list:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["seen"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    condition = helper.make_node(
        "Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    )
    choice = helper.make_node("If", ["yes"], ["lit"], then_branch=branch, else_branch=branch)
    return [NODES[0], condition, choice, *NODES[2:]]


def create_dropout(training: bool | None) -> list:
    ratio = helper.make_node("Constant", [], ["ratio"], value_float=0.5)
    switch = helper.make_node(
        "Constant",
        [],
        ["training"],
        value=helper.make_tensor("t", TensorProto.BOOL, [], [bool(training)]),
    )
    drop = helper.make_node("Dropout", ["seen", "ratio", "training"], ["dropped"])
    relu = helper.make_node("Relu", ["dropped"], ["lit"])
    return [NODES[0], ratio, switch, drop, relu, *NODES[2:]]


def create_norm(**attributes: int) -> list:
    norm = helper.make_node(
        "BatchNormalization", ["seen", "bias", "bias", "bias", "bias"], ["normed"], **attributes
    )
    return [NODES[0], norm, helper.make_node("Relu", ["normed"], ["lit"]), *NODES[2:]]


def create_functions() -> onnx.ModelProto:
    model = create_network(domains=["own"])
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )
    return model


def create_trained() -> onnx.ModelProto:
    model = create_network()
    model.training_info.add()
    return model


REFUSED = {
    "random": (create_network(random_node("RandomNormalLike")), "draws random numbers"),
    "Bernoulli": (create_network(random_node("Bernoulli")), "draws random numbers"),
    "control flow": (create_network(create_branch()), "'If': it runs one part"),
    "dropout": (create_network(create_dropout(True)), "Dropout is, or can be, switched"),
    "norm": (create_network(create_norm(training_mode=1)), "the batch's own mean"),
    "another's": (
        create_network(
            [
                NODES[0],
                helper.make_node("Gelu", ["seen"], ["lit"], domain="com.microsoft"),
                *NODES[2:],
            ],
            domains=["com.microsoft"],
        ),
        "'com.microsoft.Gelu': it is not one of ONNX's own",
    ),
    "unknown": (
        create_network([NODES[0], helper.make_node("Magic", ["seen"], ["lit"]), *NODES[2:]]),
        "'Magic': it is not one of ONNX's own",
    ),
    "functions": (create_functions(), "operators of its own"),
    "training": (create_trained(), "a training graph"),
    "old opset": (create_network(opset=16), "one opset from 17 to"),
    "new opset": (create_network(opset=999), "one opset from 17 to"),
    "shape by values": (create_network(random_node("NonZero")), "depends on what it computed"),
    "other type": (create_network(image_type=TensorProto.UINT8), "of float32 numbers"),
    "other size": (create_network(image=["n", 3, 32, 32]), r"found \(\?, 3, 32, 32\)"),
    "one channel": (create_network(image=["n", 1, SIZE, SIZE]), r"found \(\?, 1, 16, 16\)"),
    "no image": (create_network(image=[3]), r"found \(3\)"),
    "batch of none": (create_network(batch=0), "found"),
    "two inputs": (
        create_network(inputs=[helper.make_tensor_value_info("age", TensorProto.FLOAT, [1])]),
        "one input, the image; found 2",
    ),
    "two outputs": (create_network(outputs=["logits", "flat"]), "one output, the logits; found 2"),
    "no output": (create_network(outputs=["nothing"]), "is given by nothing"),
    "cycle": (
        create_network(
            [
                NODES[0],
                helper.make_node("Add", ["seen", "lit"], ["sum"]),
                helper.make_node("Relu", ["sum"], ["lit"]),
                *NODES[2:],
            ]
        ),
        "reads 'lit', which nothing before it gives",
    ),
    "given twice": (create_network([NODES[0], NODES[0], *NODES[1:]]), "'seen' is given twice"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_certificate_can_be_about_is_refused_with_the_reason(tmp_path, what):
    model, said = REFUSED[what]
    with pytest.raises(NetworkRefused, match=said):
        take(tmp_path, model)
    assert not list((tmp_path / "taken").iterdir())


def test_features_are_no_logits(tmp_path):
    with pytest.raises(NetworkRefused, match="one logit for each of the card's 3 classes"):
        add(tmp_path, create_network(outputs=["flat"]))
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.long
@pytest.mark.parametrize(
    "nodes", [create_dropout(False), create_norm(), create_norm(training_mode=0)]
)
def test_dropout_and_batch_norm_as_at_inference_are_taken(tmp_path, nodes):
    assert add(tmp_path, create_network(nodes)).card.id == "my-net"


def change_dims(*dims: int) -> onnx.ModelProto:
    model = create_network()
    model.graph.initializer[0].dims[:] = dims
    return model


def change_type(number: int) -> onnx.ModelProto:
    model = create_network()
    model.graph.initializer[0].data_type = number
    return model


def create_bomb(op: str, side: int) -> onnx.ModelProto:
    """A network whose own constants are small and whose values are not."""
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[side, side, 1])
    if op == "ConstantOfShape":
        grow = helper.make_node("ConstantOfShape", ["shape"], ["huge"])
    else:
        grow = helper.make_node(op, ["offset", "shape"], ["huge"])
    reduce = helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0)
    add_up = helper.make_node("Add", ["flat", "sum"], ["more"])
    last = helper.make_node("Gemm", ["more", "matrix", "offset"], ["logits"], transB=1)
    return create_network([*NODES[:4], shape, grow, reduce, add_up, last])


HOSTILE = {
    "huge dims": (change_dims(2**40, 2**40), "holds .* bytes, and its shape asks for"),
    "overflowing dims": (change_dims(2**62, 2**62, 2**62), "its shape asks for"),
    "negative dims": (change_dims(-1, 216), "negative side"),
    "other dims": (change_dims(8, 3, 3, 4), "holds 864 bytes, and its shape asks for 1152"),
    "unknown type": (change_type(99), "a type that ONNX does not know"),
    "strings": (change_type(TensorProto.STRING), "a type that is not taken .STRING"),
    "half type": (change_type(TensorProto.FLOAT16), "asks for 432"),
    "whole numbers": (change_type(TensorProto.INT32), "."),
    "expanding": (create_bomb("Expand", 2**20), "."),
    "a constant of shape": (create_bomb("ConstantOfShape", 2**22), "."),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_networks_are_refused_without_a_crash(tmp_path, what):
    model, said = HOSTILE[what]
    with pytest.raises(NetworkRefused, match=said):
        add(tmp_path, model)
    assert not list((tmp_path / "models").iterdir())


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = create_network().SerializeToString()
    path = tmp_path / "net.onnx"
    for length in [0, 1, *range(7, len(content), 197)]:
        path.write_bytes(content[:length])
        with pytest.raises(NetworkRefused):
            add_model(describe(), path, tmp_path / "models")


def test_what_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    for content in (b"GIF89a" * 50, b"\xff" * 4096, b"\x08" * 10_000, b"\n" + b"\x7f" * 200):
        path.write_bytes(content)
        with pytest.raises(NetworkRefused, match="damaged or truncated, or is not ONNX"):
            add_model(describe(), path, tmp_path / "models")


def test_memory_and_time_of_the_trial_are_bounded(tmp_path):
    added = add(tmp_path)
    with pytest.raises(NetworkRefused, match=r"within 0.01 s"):
        try_apart(added.card, added.folder, timeout_s=0.01)
    large = added.folder / "classifier.onnx"
    large.write_bytes(create_bomb("ConstantOfShape", 14_000).SerializeToString())  # 784 MB
    card = added.card.model_copy(update={"files": (describe_file(large),)})
    with pytest.raises(NetworkRefused, match=r"."):
        try_apart(card, added.folder, memory_bytes=2**20)


def test_a_network_that_mixes_rows_is_refused_when_it_is_added(tmp_path):
    mixed = [
        *NODES[:4],
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["flat", "mean"], ["own"]),
        helper.make_node("Gemm", ["own", "matrix", "offset"], ["logits"], transB=1),
    ]
    with pytest.raises(NetworkRefused, match=r"'ReduceMean', .* mixes the images of a batch"):
        add(tmp_path, create_network(mixed))
    assert not list((tmp_path / "models").iterdir())


def test_a_card_of_a_classifier_needs_no_words_and_takes_none():
    card = describe()
    assert (card.template, card.context_length, card.has_texts) == ("{}", 1, False)
    assert "template" not in CARD
    with pytest.raises(ValueError, match="reads no text; leave out its template"):
        parse_description(CARD.replace("batch_size", 'template = "An X-ray of {}."\nbatch_size'))


def test_a_network_belongs_to_a_card_of_a_classifier_and_has_no_configuration(tmp_path):
    path = write_network(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FormRefused, match="has no configuration"):
        add_model(describe(), path, tmp_path / "models", config=tmp_path / "config.json")
    other = describe().model_copy(update={"architecture": "open_clip"})
    with pytest.raises(FormRefused, match="looks like an ONNX network"):
        add_model(other, path, tmp_path / "models")


@pytest.mark.long
def test_a_bundle_of_a_network_is_checked_like_the_network(tmp_path):
    added = add(tmp_path)
    write_bundle(added.card, added.folder, tmp_path / "net.tar")
    again = add_bundle("my-net", tmp_path / "net.tar", tmp_path / "others")
    assert again.card.sha256 == added.card.sha256
    hostile = added.folder / "classifier.onnx"
    hostile.write_bytes(create_network(random_node("Bernoulli")).SerializeToString())
    card = added.card.model_copy(update={"files": (describe_file(hostile),)})
    write_bundle(card, added.folder, tmp_path / "hostile.tar")
    with pytest.raises(NetworkRefused, match="draws random numbers"):
        add_bundle("my-net", tmp_path / "hostile.tar", tmp_path / "more")


def test_reading_a_network_opens_no_connection_and_needs_no_torch(tmp_path):
    write_network(tmp_path)
    program = (
        "import sys; from pathlib import Path; "
        "from models.loading.onnx.graph import parse_network; "
        f"parse_network(Path({str(tmp_path / 'net.onnx')!r}).read_bytes()); "
        "assert 'openvino' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
