"""`fistula export`: the network of a run or an ensemble, for use without this package."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.folder import refuse_existing, whole_folder
from fistula.predict.exported.write import export
from fistula.predict.runs.ensemble import load_runs


def run(cfg: DictConfig) -> None:
    """Write the folder whole or not at all; say how far the exported model is from the runs."""
    out = Path(cfg.out)
    refuse_existing(out)
    runs = load_runs(Path(cfg.run), only=cfg.only)
    with whole_folder(out) as folder:
        exported = export(runs, folder, kind=cfg.format)
    whose = "the run's own" if len(runs) == 1 else f"the mean of {len(runs)} runs"
    print(f"{out / exported.name}: probabilities within {exported.difference:.1e} of {whose}")
    print(f"read {out / 'MODEL_CARD.md'}")
