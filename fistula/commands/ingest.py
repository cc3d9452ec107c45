"""`fistula ingest`: images and labels in, a cohort folder out."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from fistula.archive.address import Manners, is_archive, parse
from fistula.archive.exchange import fetched, require_library
from fistula.cohort.ingest import Recipe, ingest
from fistula.dicom.identity import key_file, read_pseudonyms
from fistula.dicom.look import Look
from fistula.errors import ConfigError, as_typed, count
from fistula.folder import paths_of, refuse_existing, refuse_inside
from fistula.labels.drawn.wanted import CLASSES, WORDS, Wanted
from fistula.labels.folders import FOLDERS, folder_labels
from fistula.labels.tables.lines import Labels
from fistula.labels.tables.several import read_tables
from fistula.labels.tables.spreadsheet import Naming
from fistula.report.names import FACTS
from fistula.source.choose import Policies
from fistula.source.flow import Flow, wide_console
from fistula.source.grid import Grid
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey
from fistula.source.workers import Workers

# What decides about the content of a cohort.
SETTINGS = ("intensity", "keep", "size", "spacing_mm", "fit")


def run(cfg: DictConfig) -> None:
    """Write the cohort; end with what was left out and why, and what to do next."""
    out = Path(str(cfg.out))
    refuse_existing(out)
    manners = Manners(**cfg.archive)
    archive = parse(cfg.source, key="source") if is_archive(cfg.source) else None
    refuse_inside(out, cfg.source)
    require_library(archive)
    recipe = read_recipe(cfg)
    labels = labels_of(cfg, recipe.keep, recipe.look, recipe.policies, negatives=cfg.negatives)
    with fetched(archive, manners) if archive else nullcontext(Path(str(cfg.source))) as source:
        record = ingest(source, labels, out, recipe=recipe, workers=Workers(cfg.workers.count, cfg.workers.backend))
    console = wide_console()
    console.print(Flow(record["flow"]).table())
    for name, number in {**record["noted"], **record["volumes_noted"]}.items():
        console.print(f"noted: {name}: {number}", style="yellow", soft_wrap=True)
    alone = [f"{FACTS.get(fact, fact)} {value:.2f}" for fact, value in record["alone"].items() if value is not None]
    if alone:
        print(f"per-patient AUROC of nonimage information (0.50 is chance): {', '.join(alone)}")
    for sentence in record["early"]:
        console.print(f"caution: {sentence}", style="yellow", soft_wrap=True, markup=False)
    if record["ignored_columns"]:
        print(f"other_columns=ignore: ignored {', '.join(record['ignored_columns'])}")
    patients = count(record["patients"], "patient")
    for name, words in record["covariates"].items():
        meaning = ", ".join(f"{word} is {number}" for number, word in enumerate(words)) or "numbers"
        print(f"covariate {name}: {meaning}; of {record['covariates_known'][name]} of {patients}")
    counts = ", ".join(f"{name}: {number}" for name, number in record["by_class"].items())
    if (level := record["label_level"]) != "slice":
        print(f"labels.level={level}: {record['labelled']} slices have the label of their {level}")
    for whose, found in record["negatives"].items():
        number = count(found["slices"], "slice")
        print(f"negatives={cfg.negatives}: {number} of {found['patients']} {whose} are negative")
    rest = record["slices"] - record["labelled"]
    unlabeled = f", and {rest} more without a label" if rest else ""
    for name, found in record.get("sequences", {}).items():
        partly = f", {found['partly']} of them in part" if found["partly"] else ""
        print(f"sequence {name}: {count(found['slices'], 'slice')}{partly}, {found['patients']} of {patients}")
    print(f"{count(record['labelled'], 'slice')} of {patients} ({counts}){unlabeled}")
    if len(record["classes"]) == 2:
        print(f"positive class: {record['classes'][-1]}")
    print(f"look at {out / 'contact_sheet.png'}")
    unit = ["unit=patient"] if record["label_level"] == "patient" else []
    print("next: fistula train", as_typed(f"cohort={out}"), "model=efficientnet_lite0", *unit)


def labels_of(
    cfg: DictConfig, keep: KeepRules, look: Look, policies: Policies, *, negatives: str
) -> Labels | Callable[[Survey], Labels]:
    """The table of labels that `labels=` names, or what makes one of what is drawn on images or how folders are called.

    Raises:
        FistulaError: If the table or an option is not what it has to be.
    """
    word, level, segment = str(cfg.labels.file), cfg.labels.level, cfg.labels.segment
    wanted = Wanted(word, list(segment) if isinstance(segment, ListConfig) else segment, cfg.labels.within_mm)
    if word not in WORDS and segment is not None:
        raise ConfigError("labels.segment", f"is for labels={' or '.join(WORDS)}", found=segment, remedy="Leave it out")
    if word not in (*WORDS, FOLDERS):
        paths, naming = paths_of(cfg.labels.file, key="labels"), Naming(cfg.columns, cfg.other_columns)
        chosen = {"classes": cfg.classes, "negatives": negatives, "level": level}
        return read_tables(paths, **chosen, naming=naming, covariates=list(cfg.labels.covariates or []))
    if cfg.labels.covariates:
        raise ConfigError("labels.covariates", "must be [] unless a table has them", found=f"labels={word}")
    if level != "slice":
        raise ConfigError("labels.level", f"must be slice with labels={word}", found=level)

    def made(survey: Survey) -> Labels:
        if survey.images.is_empty():  # of what is there instead, choosing speaks
            return Labels(survey.folder, ("slice_key",), list(CLASSES), [])
        if word == FOLDERS:
            return folder_labels(survey, classes=cfg.classes)
        from fistula.labels.drawn.masks import drawn_labels  # here, because it imports matplotlib

        rules = keep if survey.kind == "dicom" else None
        return drawn_labels(survey, wanted, keep=rules, look=look, policies=policies, classes=cfg.classes)

    return made


def read_recipe(cfg: DictConfig) -> Recipe:
    """How to make a cohort, from the configuration of `fistula ingest`; ConfigError if a value cannot work."""
    if key_file().resolve().is_relative_to(Path(str(cfg.out)).resolve()):
        raise ConfigError("out", "must not be a folder that holds the pseudonym key", found=cfg.out)
    own = OmegaConf.masked_copy(cfg, list(SETTINGS))
    settings = cast(dict[str, Any], OmegaConf.to_container(own, resolve=True))
    keep: KeepRules = instantiate(cfg.keep, _convert_="all")
    if not keep.named:  # an ensemble compares this with cohorts that know of no sequences
        del settings["keep"]["sequences"]
    pseudonyms = read_pseudonyms(create=True)
    return Recipe(
        keep=keep,
        intensity=instantiate(cfg.intensity, _convert_="all"),
        grid=Grid(cfg.size, cfg.spacing_mm, cfg.fit),
        policies=Policies(cfg.unreadable, cfg.unmatched, cfg.same_uid, cfg.negatives, cfg.missing, cfg.other_frame),
        patient=PatientRule(cfg.patient),
        look=Look(pseudonyms, keep.description, cfg.max_object_mb, cfg.seconds_per_file, keep.described),
        settings=settings,
    )
