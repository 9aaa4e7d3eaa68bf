"""Measures a model's zero-shot accuracy on the test folders, on clean and on noisy images.

    python -m models.bundled.evaluate --data DIR [--models DIR] [--model bundled-2]

Each set is classified over its own classes with its own template. The noise is the noise of a
certificate: Gaussian on pixels in [0, 1], rounded to the 8-bit grid, with several copies of each
image. The accuracy is that of the base classifier over all copies, without smoothing. The output is
the `[[evaluation]]` tables for a model card. Each set's comment says how far its text features move
under a small change of the context vectors: where they do not move, no prompt has an effect.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from models.bundled.image_sets import ImageSet, load_image_set
from models.bundled.train import IMAGE_SETS
from models.catalogue import load_catalogue
from models.catalogue.cards import Evaluation
from models.loading.loading import load_vlm
from models.prompts.learning_settings import INIT_STD
from models.prompts.prompt import split_template
from models.vlm.base_classifier import BaseClassifier, create_base_classifier
from models.vlm.vlm import VLM

SIGMAS = (0.0, 0.1, 0.25, 0.5)
COPIES = 8
SEED = 0


def sample_noisy_copies(
    image_set: ImageSet, sigma: float, copies: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields all images once per copy: int16 (N, 3, H, W), classes (N,). Not for certificates."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(image_set.pixels).to(torch.int16)
    for _ in range(copies):
        noise = (255 * sigma * torch.randn(pixels.shape, generator=generator)).round()
        yield pixels + noise.to(torch.int16), torch.from_numpy(image_set.classes)


def get_accuracy(
    base_classifier: BaseClassifier, image_set: ImageSet, sigma: float, *, copies: int, seed: int
) -> float:
    """Returns the share of all copies of all images that are classified correctly."""
    batch = base_classifier.vlm.card.batch_size["cpu"]
    right, seen = 0, 0
    for pixels, classes in sample_noisy_copies(image_set, sigma, copies, seed):
        parts = [base_classifier(part).argmax(dim=1) for part in pixels.split(batch)]
        right += int((torch.cat(parts) == classes).sum())
        seen += len(classes)
    return right / seen


def evaluate(vlm: VLM, image_set: ImageSet) -> Iterator[Evaluation]:
    """Yields one result for each noise strength; clean images need only one copy."""
    classifier = create_base_classifier(vlm, image_set.template, image_set.class_names)
    for sigma in SIGMAS:
        copies = COPIES if sigma else 1
        accuracy = get_accuracy(classifier, image_set, sigma, copies=copies, seed=SEED)
        yield Evaluation(
            data=f"{image_set.name} test",
            images=len(image_set.classes),
            sigma=sigma,
            copies=copies,
            accuracy=round(accuracy, 4),
        )


def measure_motion(vlm: VLM, class_names: Sequence[str], suffix: str) -> float:
    """Returns how far the text features move apart under a small change of the context vectors.

    Each number of eight random vectors moves by 0.005, as in one zero-shot step. The motion that
    all classes share changes no answer, so it is subtracted. The result is the mean length of the
    rest over the classes; features have length 1.
    """
    generator = torch.Generator().manual_seed(SEED)
    ctx = INIT_STD * torch.randn(8, vlm.text_width, generator=generator)
    signs = 2 * torch.randint(2, ctx.shape, generator=generator) - 1
    texts = [name + suffix for name in class_names]
    with torch.no_grad():
        moved = vlm.encode_prompts(ctx + 0.005 * signs, texts) - vlm.encode_prompts(ctx, texts)
    return float((moved - moved.mean(dim=0)).norm(dim=1).mean())  # moved is (C, D)


def get_images_per_second(vlm: VLM, *, batches: int = 20) -> float:
    """Measures the speed of the image tower on the CPU at the card's batch shape."""
    batch, size = vlm.card.batch_size["cpu"], vlm.card.preprocessing.size
    pixels = torch.zeros(batch, 3, size, size, dtype=torch.int16)
    vlm.encode_images(pixels)
    started = time.perf_counter()
    for _ in range(batches):
        vlm.encode_images(pixels)
    return batches * batch / (time.perf_counter() - started)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.bundled.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--models", type=Path, help="folder of additional models")
    parser.add_argument("--model", default="bundled-2")
    parser.add_argument("--sets", nargs="+", default=IMAGE_SETS, help="folders under --data")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    catalogue = load_catalogue(chosen.models)
    card = catalogue.get(chosen.model)
    vlm = load_vlm(card, catalogue.folder(chosen.model), torch.device("cpu"))
    print(f"# image tower: {get_images_per_second(vlm):.0f} images/s")  # noqa: T201 - a command
    for name in chosen.sets:
        image_set = load_image_set(chosen.data / name, "test", card.preprocessing)
        _, suffix = split_template(image_set.template)
        motion = measure_motion(vlm, image_set.class_names, suffix)
        print(f"# {name}: motion of the text features {motion:.4f}")  # noqa: T201 - a command
        for result in evaluate(vlm, image_set):
            fields = result.model_dump()
            fields["data"] = f'"{result.data}"'
            lines = "\n".join(f"{key} = {value}" for key, value in fields.items())
            print(f"[[evaluation]]\n{lines}\n")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
