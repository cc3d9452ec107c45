"""`fistula predict`: new images in; scores, decisions, overlays and a page out."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from fistula.errors import ConfigError
from fistula.folder import refuse_existing, whole_folder


def run(cfg: DictConfig) -> None:
    """Write the folder whole or not at all; end with what was answered and what was left out."""
    # Here, because `--help` must not wait for torch.
    from fistula.cohort.workers import Workers
    from fistula.predict.predictor import load
    from fistula.predict.source import Limits, reading
    from fistula.predict.write import OVERLAYS, draw_overlays, write_prediction

    out = Path(cfg.out)
    refuse_existing(out)
    if cfg.overlays not in OVERLAYS:
        raise ConfigError("overlays", f"must be one of {', '.join(OVERLAYS)}", found=cfg.overlays)
    limits = Limits(cfg.max_object_mb, cfg.seconds_per_file)
    predictor = load(cfg.run, only=cfg.only, error=cfg.error, limits=limits)
    workers = Workers(cfg.workers.count, cfg.workers.backend)
    with reading(Path(cfg.source), predictor.reader, workers) as slices:
        prediction = predictor.judge(slices)
        overlays = draw_overlays(predictor, slices, prediction, which=cfg.overlays)
        with whole_folder(out) as folder:
            write_prediction(folder, slices, prediction, overlays)
        flow = slices.flow.table()
    console = Console(highlight=False)
    console.print(flow)
    for note in prediction.summary["notes"]:
        console.print(f"noted: {note}", style="yellow", soft_wrap=True)
    answers = ", ".join(f"{answer}: {count}" for answer, count in prediction.summary["answers"].items())
    print(f"{prediction.summary['slices']} slices of {prediction.summary['patients']} patients ({answers})")
    print("open this page in a browser:")
    print(out / "index.html")
