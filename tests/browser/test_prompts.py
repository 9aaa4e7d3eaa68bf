"""A prompt is learned on the page."""

import zipfile
from pathlib import Path
from typing import Any

from asking import Check, certify


def test_prompt_is_learned_from_a_zip_and_can_be_asked_for(
    tabs: Any, service: Any, check: Check, data_folder: Path, tmp_path: Path, xray: str
) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("chest_xray", "head_ct"):
            for image in sorted((data_folder / "mednist" / "train" / name).iterdir())[:3]:
                file.write(image, f"{name.replace('_', ' ')}/{image.name}")
    page = tabs.open("prompts")
    page.wait_for_selector(".prompts li")
    check(page, "prompts")
    page.set_input_files("input[type=file]", path)
    page.get_by_label("Name").fill("two-kinds")
    page.get_by_text("Advanced").click()
    page.get_by_label("Images of each class").fill("3")
    page.get_by_label("Epochs").fill("3")
    page.get_by_role("button", name="Learn the prompt").click()
    page.get_by_text("It can be chosen for a certification at once").wait_for()
    assert page.locator(".curve path.line").first.get_attribute("d").count("L") == 2
    check(page, "learned")
    page.get_by_role("link", name="Certify an image").click()
    page.wait_for_selector("form.certify")
    page.get_by_label("What to tell apart").select_option("two-kinds")
    assert page.get_by_label("Classes").input_value() == "chest xray\nhead ct"
    certification = certify(page, xray)
    (entry, *_) = service.get(f"certifications/{certification}")["certificates"]
    assert entry["prompt"]["id"] == "two-kinds"
