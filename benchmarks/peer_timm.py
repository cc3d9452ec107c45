"""What timm's `train.py` does with its own augmentation: AdamW at 3e-4, batches of 32; the best epoch and the last."""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

NAME, SCRIPT = "tf_efficientnet_lite0", Path("data/timm/train.py")  # of the tag of the installed version, or near it


def main() -> None:
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config
    from timm.models import load_checkpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    folder = given.folder
    classes = sorted(path.name for path in (folder / "train").iterdir())
    with Image.open(next((folder / "test").glob("*/*.png"))) as image:
        side = image.width
    batch = min(32, len(list((folder / "train").glob("*/*.png"))))
    told = {
        "data-dir": folder, "train-split": "train", "val-split": "val", "model": NAME, "num-classes": len(classes),
        "pretrained-path": folder / "start.pt", "img-size": side, "crop-pct": 1.0, "batch-size": batch, "opt": "adamw",
        "lr": 3e-4, "epochs": given.epochs, "seed": given.seed, "device": "cpu", "workers": 1, "output": folder,
        "experiment": "timm", "checkpoint-hist": 1,
    }  # fmt: skip
    words = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, str(SCRIPT), "--pretrained", *words], check=True)
    network = timm.create_model(NAME, num_classes=len(classes)).eval()
    data = resolve_model_data_config(network) | {"input_size": (3, side, side), "crop_pct": 1.0}
    transform = create_transform(**data)
    files, ways = sorted((folder / "test").glob("*/*.png")), []
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in files])
    for kept in ("model_best", "last"):
        load_checkpoint(network, str(folder / "timm" / f"{kept}.pth.tar"))
        with torch.inference_mode():
            ways.append(torch.cat([network(part).softmax(1)[:, 1] for part in images.split(32)]))
    with (folder / "scores.csv").open("w", newline="") as file:
        lines = [(path.stem, *(float(way[index]) for way in ways)) for index, path in enumerate(files)]
        csv.writer(file).writerows([("slice_key", "by_best", "by_last"), *lines])


if __name__ == "__main__":
    main()
