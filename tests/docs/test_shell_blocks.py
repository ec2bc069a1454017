"""Every ```bash block of README.md and the docs is run for real, page after page, in order.

Each page has a temporary folder of its own, in which ``LAID_OUT`` puts what the page takes for
granted: nothing else is hidden. Blocks that cannot be run have another tag (``text``, or
``{.text .not-run}``); ``MOST_NOT_RUN`` keeps them few. ``warm_imseg.py`` says how trainings are
made tiny.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.polygons.polygon_files import Coco, save_picture, square
from tests.docs.warm_imseg import TRAINING, tiny, warm_imseg
from typer.main import get_command

from imseg.cli.main import app
from imseg.data.synthetic import CellScene, write_demo

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```(.*)$", re.MULTILINE)
MOST_NOT_RUN = 4
"""Blocks of commands that would need a download or a GPU."""
SCENE = CellScene(difficulty=0.0, size=(32, 32))


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> set[str]:
    return set(re.findall(r"^imseg ([a-z]\w*)", "\n".join(blocks(page)), re.MULTILINE))


def my_data(folder: Path) -> None:
    """``my-data``, new images, and labels that arrive later."""
    write_demo(folder / "my-data", seed=1, labeled=8, unlabeled=6, val=4, test=4, scene=SCENE)
    write_demo(folder / "later", seed=2, labeled=2, unlabeled=2, val=0, test=0, scene=SCENE)
    (folder / "new-labels").mkdir()
    for part in ("images", "masks"):
        shutil.copytree(folder / "later/labeled" / part, folder / "new-labels" / part)
        for path in (folder / "new-labels" / part).iterdir():
            path.rename(path.with_name(f"later_{path.name}"))
    shutil.copytree(folder / "later/unlabeled", folder / "new-images")
    shutil.rmtree(folder / "later")


def isic(folder: Path) -> None:
    """A download as the ISIC challenge gives it, with a few images."""
    generator = np.random.default_rng(0)
    counts = {"Training": 20, "Validation": 5, "Test": 5}
    number = 0
    for part, count in counts.items():
        images = folder / f"downloads/isic/ISIC2018_Task1-2_{part}_Input"
        masks = folder / f"downloads/isic/ISIC2018_Task1_{part}_GroundTruth"
        images.mkdir(parents=True)
        masks.mkdir()
        for _ in range(count):
            name, number = f"ISIC_{number:07d}", number + 1
            mask = np.zeros((40, 48), np.uint8)
            row, column = generator.integers(2, 20, 2)
            mask[row : row + 16, column : column + 20] = 255
            pixels = np.repeat(mask[..., None] // 2 + 60, 3, axis=2)
            pixels = pixels + generator.integers(0, 30, pixels.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(images / f"{name}.jpg")
            Image.fromarray(mask).save(masks / f"{name}_segmentation.png")


def outlines(folder: Path) -> None:
    """COCO annotations beside their pictures."""
    coco = Coco("cell", "dish")
    for number in range(6):
        save_picture(folder / f"annotations/images/cell_{number}.png", (48, 40))
        image = coco.image(f"cell_{number}.png", (48, 40))
        coco.draw(image, square(3 + number, 5, 12), category=1)
        coco.draw(image, square(8 + number, 24, 12), category=2)
    save_picture(folder / "annotations/images/free.png", (48, 40))
    coco.write(folder / "annotations/instances.json")


LAID_OUT: dict[str, Callable[[Path], None]] = {
    "README.md": my_data,
    "docs/explanation/does-unlabeled-data-pay.md": my_data,
    "docs/explanation/matched-baselines.md": my_data,
    "docs/how-to/few-images.md": my_data,
    "docs/how-to/read-the-report.md": my_data,
    "docs/how-to/reproduce-the-paper.md": isic,
    "docs/how-to/speed-and-memory.md": my_data,
    "docs/how-to/your-data.md": my_data,
    "docs/polygons.md": outlines,
}
"""What a page takes for granted; a page that is not here begins with an empty folder."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    # A short path: the address of a socket may have about a hundred characters.
    with warm_imseg(tmp_path_factory.mktemp("warm")) as found:
        yield found


@pytest.mark.rest
@pytest.mark.parametrize(
    "name", [page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page)]
)
def test_the_commands_of_a_page_do_what_the_page_says(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    if name in LAID_OUT:
        LAID_OUT[name](tmp_path)
    for number, block in enumerate(blocks(ROOT / name), 1):
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        told = f"block {number} of {name}:\n{block}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, told


def test_pages_have_commands_to_run() -> None:
    assert sum(len(blocks(page)) for page in PAGES) > 20
    assert set(LAID_OUT) <= {page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page)}, (
        "what is laid out is used"
    )


def test_every_block_says_what_it_is() -> None:
    """A block without a tag is neither run nor meant not to be."""
    for page in PAGES:
        opened = FENCE.findall(page.read_text(encoding="utf-8"))[::2]
        assert "" not in opened, page


def test_few_commands_are_not_run() -> None:
    """Output and usage are ``text``; commands for a shell that cannot run here are ``not-run``."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(text.count("```{.text .not-run}") for text in texts) <= MOST_NOT_RUN


def test_commands_of_pages_exist() -> None:
    known = set(get_command(app).commands)
    for page in PAGES:
        assert commands(page) <= known, page


def test_only_trainings_are_made_tiny() -> None:
    assert tiny(["check", "my-data"]) == ["check", "my-data"]
    for command in TRAINING:
        assert tiny([command, "my-data"])[:2] == [command, "my-data"]
        assert "--max-steps" in tiny([command, "my-data"])
        assert "--max-steps" not in tiny([command, "my-data", "--match", "runs/a"])
        assert "--max-steps" not in tiny([command, "my-data", "--minutes", "5"])
        assert "--image-size" not in tiny([command, "my-data", "--scale", "0.5"])
