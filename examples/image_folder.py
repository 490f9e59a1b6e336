"""Images on disk for live learning: patches of the two photographs that scikit-learn ships, a folder for each class.

Writes `DESTINATION/<class>/<number>.png`, 24 x 24 pixels; a class is a quarter of a photograph, eight in all. Then

    fedtwin-evaluate --figure split_point_accuracy --task DESTINATION --output results/split_point_images
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def main(destination: Path, patches: int = 200, size: int = 24, seed: int = 0) -> list[Path]:
    """Cut patches at random places and return the class folders."""
    rng = np.random.default_rng(seed)
    folders = []
    for photograph, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        height, width = (side // 2 for side in pixels.shape[:2])
        for row, upper in enumerate((0, height)):
            for column, left in enumerate((0, width)):
                folder = destination / f"{photograph}_{row}{column}"
                folder.mkdir(parents=True, exist_ok=True)
                folders.append(folder)
                for number in range(patches):
                    y = upper + int(rng.integers(height - size))
                    x = left + int(rng.integers(width - size))
                    Image.fromarray(pixels[y : y + size, x : x + size]).save(folder / f"{number:04}.png")
    return folders


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--patches", type=int, default=200)
    arguments = parser.parse_args()
    for folder in main(arguments.destination, arguments.patches):
        print(folder)
