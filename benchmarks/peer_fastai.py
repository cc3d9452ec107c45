"""What fastai's tutorials do: `vision_learner`, `aug_transforms`, `fine_tune`; scored with and without its `tta`."""

import argparse
import csv
from pathlib import Path


def main() -> None:
    # Of an environment of its own: benchmarks/peer_fastai.txt
    from fastai.vision.all import ImageDataLoaders, aug_transforms, get_image_files, set_seed, vision_learner

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    set_seed(given.seed, reproducible=True)
    batch = min(64, len(get_image_files(given.folder / "train")))  # its own 64 would train on none of fewer images
    loaders = ImageDataLoaders.from_folder(
        given.folder, train="train", valid="val", bs=batch, batch_tfms=aug_transforms(), seed=given.seed, num_workers=0
    )
    start = {"file": str(given.folder / "start.pt"), "hf_hub_id": None, "url": ""}
    learner = vision_learner(loaders, "tf_efficientnet_lite0", pretrained_cfg_overlay=start)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(given.epochs)
        files = get_image_files(given.folder / "test")
        test = loaders.test_dl(files)
        ways = [learner.get_preds(dl=test)[0], learner.tta(dl=test)[0]]
    with (given.folder / "scores.csv").open("w", newline="") as file:
        lines = [(path.stem, *(float(way[index, 1]) for way in ways)) for index, path in enumerate(files)]
        csv.writer(file).writerows([("slice_key", "by_itself", "by_tta"), *lines])


if __name__ == "__main__":
    main()
