"""What tutorials of timm and Lightning do: random mirror images, batches of 32, AdamW at 3e-4, the best epoch."""

import argparse
import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch
from torch.utils.data import DataLoader
from torchmetrics.classification import BinaryAUROC
from torchvision import transforms
from torchvision.datasets import ImageFolder


class Plain(pl.LightningModule):
    """A network of two classes."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = timm.create_model("tf_efficientnet_lite0")
        self.network.load_state_dict(torch.load(weights))
        self.network.reset_classifier(2)
        self.auroc = BinaryAUROC()

    def training_step(self, batch: Any, index: int) -> Any:
        return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.auroc.update(self.predict_step(batch, index), batch[1])
        self.log("auroc", self.auroc)

    def predict_step(self, batch: Any, index: int) -> Any:
        return self.network(batch[0]).softmax(1)[:, 1]

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    pl.seed_everything(given.seed, verbose=False)
    usual = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    shown = {"train": transforms.Compose([transforms.RandomHorizontalFlip(), *usual])}
    sets = {
        part: ImageFolder(given.folder / part, shown.get(part, transforms.Compose(usual)))
        for part in ("train", "val", "test")
    }
    loaders = {part: DataLoader(images, 32, shuffle=part == "train") for part, images in sets.items()}
    best = pl.callbacks.ModelCheckpoint(given.folder, monitor="auroc", mode="max")
    trainer = pl.Trainer(
        max_epochs=given.epochs, accelerator="cpu", logger=False, callbacks=[best], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    network = Plain(given.folder / "start.pt")
    trainer.fit(network, loaders["train"], loaders["val"])
    scores = torch.cat(trainer.predict(network, loaders["test"], ckpt_path="best"))
    with (given.folder / "scores.csv").open("w", newline="") as file:
        lines = [(Path(path).stem, float(score)) for (path, _), score in zip(sets["test"].samples, scores, strict=True)]
        csv.writer(file).writerows([("slice_key", "by_itself"), *lines])


if __name__ == "__main__":
    main()
