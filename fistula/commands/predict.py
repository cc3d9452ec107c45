"""`fistula predict`: new images in; scores, decisions, overlays and a page out."""

from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from fistula.archive.address import Manners, is_archive, parse
from fistula.archive.exchange import fetched, require_library, store
from fistula.dicom.out.objects import Subject
from fistula.dicom.out.objects import require_library as require_objects
from fistula.errors import SideProductError, count, refuse_other
from fistula.folder import refuse_existing, refuse_inside, whole_folder
from fistula.predict.out.objects import check_objects, write_objects
from fistula.predict.out.write import OVERLAYS, attempt, complete, draw_overlays, write_prediction
from fistula.predict.predictor import load
from fistula.predict.runs.known import with_stated
from fistula.predict.source import Limits, reading
from fistula.source.flow import wide_console
from fistula.source.workers import Workers


def run(cfg: DictConfig) -> None:
    """Write the folder whole or not at all; end with what was answered and what was left out."""
    out = Path(cfg.out)
    refuse_existing(out)
    refuse_inside(out, cfg.source)
    refuse_other("overlays", cfg.overlays, OVERLAYS)
    manners = Manners(**cfg.archive)
    archive = parse(cfg.source, key="source") if is_archive(cfg.source) else None
    target = None if cfg.send is None else parse(cfg.send, key="send", whole=True)
    require_library(archive, target)
    if cfg.dicom or target is not None:
        require_objects()
    covariates = None if cfg.covariates_table is None else Path(str(cfg.covariates_table))
    limits = Limits(cfg.max_object_mb, cfg.seconds_per_file)
    predictor = load(cfg.run, only=cfg.only, error=cfg.error, limits=limits, device=cfg.device)
    if cfg.dicom or target is not None:
        check_objects(predictor)
    workers = Workers(cfg.workers.count, cfg.workers.backend)
    with (
        fetched(archive, manners) if archive else nullcontext(Path(cfg.source)) as source,
        reading(source, predictor.reader, workers) as images,
    ):
        slices = with_stated(predictor.runs[0], predictor.reader, images, covariates)
        prediction = predictor.judge(slices)
        overlays, failed = draw_overlays(predictor, slices, prediction, which=cfg.overlays)
        unread = [f"scores of unreadable images: {slices.unread}"] if slices.unread else []
        failed = unread + failed
        with whole_folder(out) as folder:
            write_prediction(folder, slices, prediction, overlays, failed)
            if cfg.dicom or target is not None:
                finding = Subject(**cfg.finding)
                objects, unmade, left_empty = write_objects(
                    folder, predictor, slices, prediction, overlays, finding=finding
                )
                failed += unmade
                if left_empty:
                    named = f"left empty in DICOM objects because the source is damaged: {', '.join(left_empty)}"
                    prediction.summary["notes"].append(named)
                complete(folder, failed, prediction.summary["notes"])
        flow = slices.flow.table()
    if target is not None:  # now that the scores are safe
        files = [out / "dicom" / path.name for path in objects]
        attempt(f"send={cfg.send}", lambda: store(target, files, manners), failed)
        complete(out, failed, prediction.summary["notes"])
    console = wide_console()
    console.print(flow)
    for note in prediction.summary["notes"]:
        console.print(f"noted: {note}", style="yellow", soft_wrap=True)
    answers = ", ".join(f"{answer}: {number}" for answer, number in prediction.summary["answers"].items())
    seen = " of ".join(count(prediction.summary[f"{one}s"], one) for one in ("slice", "patient"))
    print(f"{seen} ({answers})")
    if target is not None and not any(name.startswith("send=") for name in failed):
        print(f"{len(objects)} objects stored in {cfg.send}")
    print("open this page in a browser:")
    print(out / "index.html")
    if failed:
        found = f"{len(failed)} ({failed[0]}{'; ...' if len(failed) > 1 else ''})"
        remedy = f"The {'other ' if unread else ''}scores are complete; summary.json lists each failure under `failed`"
        rule = "lacks the scores of some images" if unread else "lacks some of the files that accompany the scores"
        raise SideProductError(out, rule, found=found, remedy=remedy)
