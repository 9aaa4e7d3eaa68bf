"""A model as others publish it, for the commands that add one."""

import pytest
from published_clip import HfClip, create_small_hf_clip


@pytest.fixture(scope="session")
def hf_clip() -> HfClip:
    return create_small_hf_clip()
