"""Weights in a file without a name: the same module, and memory that the system has back."""

from pathlib import Path

import pytest
import torch

from models.vlm.put_aside import WeightsAside


def create_module() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(1024, 1024), torch.nn.Linear(1024, 3), torch.nn.LayerNorm(3))
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


def count_resident_kb() -> int:
    """Kilobytes of memory that deleted files take in this process."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        if ":" not in line.split()[0]:
            counts = line.endswith("(deleted)") and "rw-p" in line
        elif counts and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_a_module_computes_what_it_did_and_its_weights_are_in_no_listed_file(tmp_path):
    module, inputs = create_module(), torch.ones(2, 1024)
    wanted, names = module(inputs), dict(module.named_parameters())
    aside = WeightsAside(module, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert aside.size_bytes == sum(leaf.nbytes for leaf in module.parameters())
    assert torch.equal(module(inputs), wanted)
    assert all(leaf is names[name] for name, leaf in module.named_parameters())


def test_pages_leave_memory_and_come_back_with_the_same_values(tmp_path):
    module, inputs = create_module(), torch.ones(2, 1024)
    wanted, before = module(inputs), count_resident_kb()
    aside = WeightsAside(module, tmp_path)
    assert torch.equal(module(inputs), wanted)
    assert count_resident_kb() - before > 4000
    aside.leave_memory()
    assert count_resident_kb() - before < 100
    assert torch.equal(module(inputs), wanted)


def test_a_gradient_passes(tmp_path):
    module = create_module()
    inputs, twin = (torch.ones(2, 1024, requires_grad=True) for _ in range(2))
    module(inputs)[0, 0].backward()
    WeightsAside(module, tmp_path)
    module(twin)[0, 0].backward()
    assert torch.equal(inputs.grad, twin.grad)


def test_a_module_without_weights_is_taken(tmp_path):
    assert WeightsAside(torch.nn.ReLU(), tmp_path).size_bytes == 0


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(OSError, match="missing"):
        WeightsAside(create_module(), tmp_path / "missing")
