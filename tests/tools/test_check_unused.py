"""The check of code without a user finds what it is for."""

from pathlib import Path

from tools.check_unused import find_unused

PROGRAM = """\
import torch
from fastapi import APIRouter

router = APIRouter()

@router.get("/healthz")
def get_health() -> str: return used()

class Layer(torch.nn.Module):
    def forward(self): return None

def used() -> str: return Layer.__name__

def lonely() -> str: return "nobody calls this"
"""


def test_a_function_that_nothing_calls_is_found_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    (fault,) = find_unused([file])
    assert "function lonely" in fault
    (tmp_path / "caller.py").write_text("from program import lonely\nlonely()\n")
    assert list(find_unused([tmp_path])) == []
