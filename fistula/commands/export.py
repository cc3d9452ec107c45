"""`fistula export`: a run's network for use without this package."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.folder import refuse_existing, whole_folder


def run(cfg: DictConfig) -> None:
    """Write the folder whole or not at all; say how far the exported model is from the run."""
    from fistula.predict.export import export  # here, because `--help` must not wait for torch
    from fistula.predict.model import load_run

    out = Path(cfg.out)
    refuse_existing(out)
    loaded = load_run(Path(cfg.run))
    with whole_folder(out) as folder:
        exported = export(loaded, folder, kind=cfg.format, int8=cfg.int8)
    print(f"{out / exported.name}: probabilities within {exported.difference:.1e} of the run's own")
    if exported.int8 is not None:
        found = exported.int8
        auroc = f"AUROC by slice {found['auroc']:.3f} instead of {found['auroc_before']:.3f}"
        size = f"{found['bytes'] / found['bytes_before']:.0%} of the size"
        print(f"{out / found['file']}: {auroc}, probabilities off by up to {found['largest_difference']:.3f}, {size}")
    print(f"read {out / 'MODEL_CARD.md'}")
