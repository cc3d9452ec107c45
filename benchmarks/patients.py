"""Seconds of a linear probe of patients once the features are there: pooling and classifier, validation and all.

    python benchmarks/patients.py [--patients 500] [--slices 30] [--epochs 50] [--features 1280]

The features are noise, of as many numbers as efficientnet_lite0 has: the time does not depend on what they say. It goes
through the whole of a run's training, `last.ckpt` and the best weights included; what comes before (the network's look
at every slice, once) and after (scores) is not counted.
"""

import argparse
import tempfile
import time
from pathlib import Path


def seconds(pooling: str, *, patients: int, slices: int, epochs: int, features: int) -> float:
    """How long the training of one pooling takes."""
    import torch
    from training import build_experiment, write_cohort

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "cohort", slices=patients * slices, size=16, each=slices)
        experiment = build_experiment(
            folder / "cohort", folder / "run", "unit=patient", f"pooling={pooling}", f"epochs={epochs}",
            "model=efficientnet_lite0", "learning=linear_probe", "learning.pretrained=false", "image_size=32",
            "slices_per_step=null", "batch_size=16", "split=patient_holdout", "logger=csv", "trainer=cpu",
        )  # fmt: skip
        data = experiment.data
        assert experiment.classifier.backbone.num_features == features
        data.features = {part: torch.randn(len(data.bags[part].rows), features) for part in ("train", "val")}
        started = time.monotonic()
        experiment.trainer.fit(experiment.classifier, data)
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for key, number in (("patients", 500), ("slices", 30), ("epochs", 50), ("features", 1280)):
        parser.add_argument(f"--{key}", type=int, default=number)
    given = parser.parse_args()
    for pooling in ("mean", "max", "attention", "transformer"):
        print(f"{pooling}: {seconds(pooling, **vars(given)):.1f} s", flush=True)


if __name__ == "__main__":
    main()
