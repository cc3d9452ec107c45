"""What a plain script of timm and Lightning comes to on COVID-CT: `python benchmarks/peers.py ../shared/data/covid-ct`.

The official split, the ImageNet weights of the package, 128 pixels, 15 epochs, and otherwise what tutorials have: color
images resized with torchvision, mirrored at random, batches of 32, AdamW at 3e-4, the best epoch by validation AUROC.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any


def test_auroc(source: Path, *, seed: int, size: int, epochs: int) -> float:
    """Per-slice AUROC of the official test set."""
    import pytorch_lightning as pl
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchmetrics.classification import BinaryAUROC
    from torchvision import transforms

    from fistula.learning.weights.finding import find_weights  # timm takes no file of other names, and says so in a log

    pl.seed_everything(seed, verbose=False)
    lines = list(csv.DictReader((source / "labels.csv").open(encoding="utf-8")))
    usual = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    shown = {
        "train": transforms.Compose([transforms.Resize((size, size)), transforms.RandomHorizontalFlip(), *usual]),
        "val": transforms.Compose([transforms.Resize((size, size)), *usual]),
    }

    class Slices(torch.utils.data.Dataset):
        def __init__(self, part: str) -> None:
            self.rows = [line for line in lines if line["split"] == part]
            self.transform = shown["train" if part == "train" else "val"]

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> Any:
            row = self.rows[index]
            return self.transform(Image.open(source / row["path"]).convert("RGB")), int(row["label"])

    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            name = "tf_efficientnet_lite0"
            overlay = find_weights(name, timm.create_model(name), download=False).overlay
            self.network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=2)
            self.auroc = BinaryAUROC()

        def training_step(self, batch: Any, index: int) -> Any:
            return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            self.auroc.update(self.network(batch[0]).softmax(1)[:, 1], batch[1])
            self.log("auroc", self.auroc)

        test_step = validation_step

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=3e-4)

    loaders = {part: DataLoader(Slices(part), 32, shuffle=part == "train") for part in ("train", "val", "test")}
    with tempfile.TemporaryDirectory() as folder:
        best = pl.callbacks.ModelCheckpoint(folder, monitor="auroc", mode="max")
        trainer = pl.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[best], enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        network = Plain()
        trainer.fit(network, loaders["train"], loaders["val"])
        return float(trainer.test(network, loaders["test"], ckpt_path="best", verbose=False)[0]["auroc"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    for seed in given.seeds:
        value = test_auroc(given.source, seed=seed, size=given.size, epochs=given.epochs)
        print(f"plain timm and Lightning, seed {seed}: {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
