"""`fistula agree`: how well readers agree, where they do not, and a consensus."""

import json
from collections import Counter
from itertools import groupby
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fistula import __version__
from fistula.errors import ConfigError, DataError, as_typed, classes_as_typed, refuse_other, refuse_outside
from fistula.evidence.readers.agreement import WEIGHTS
from fistula.folder import paths_of, refuse_existing, whole_folder
from fistula.labels.readers.agreement import Measure, Readers, measures, read_readers
from fistula.labels.readers.consensus import COLUMNS, OF_PATIENTS, as_csv, consensus, disagreements
from fistula.labels.tables.classes import known_order
from fistula.labels.tables.page_table import Reading, readings_of
from fistula.viewer.page import template


def run(cfg: DictConfig) -> None:
    """Print the numbers; write a page, the numbers, the disagreements and the consensus."""
    out = Path(str(cfg.out))
    refuse_existing(out)
    refuse_other("weights", cfg.weights, WEIGHTS)
    refuse_outside("points_mm", cfg.points_mm, 0.01, 1000)
    if not cfg.labels:
        raise ConfigError(
            "labels", "must be given: tables of two or more readers", remedy="For example labels=[a.csv,b.csv]"
        )
    readers = read_readers(paths_of(cfg.labels, key="labels"), cfg.classes)
    is_ordered = cfg.classes is not None or known_order(set(readers.classes)) is not None
    if cfg.weights != "none" and not is_ordered:
        remedy = f"State the order of the grades: classes=[...] of {', '.join(readers.classes)}"
        raise ConfigError("classes", f"must be given with weights={cfg.weights}", found="none", remedy=remedy)
    rows = measures(readers, weights=cfg.weights, points_mm=cfg.points_mm)
    disputed = disagreements(readers, points_mm=cfg.points_mm)
    judge = None if cfg.adjudicated is None else _judge(paths_of(cfg.adjudicated, key="adjudicated"), readers)
    decided, rules = consensus(readers, disputed, adjudicated=judge, majority=cfg.majority)
    with whole_folder(out) as folder:
        (folder / "index.html").write_text(_page(readers, rows, disputed, rules), encoding="utf-8")
        numbers = json.dumps([_plain(row) for row in rows], indent=1, ensure_ascii=False)
        (folder / "agreement.json").write_text(numbers, encoding="utf-8")
        (folder / "disagreements.csv").write_text(_disagreements(readers, disputed), encoding="utf-8")
        columns = COLUMNS if readers.level == "slice" else OF_PATIENTS
        (folder / "consensus.csv").write_text(as_csv(decided, columns), encoding="utf-8")
    _print(rows, readers)
    print("consensus:", ", ".join(f"{rule}: {count}" for rule, count in rules.most_common()))
    print(f"open in a browser: {out / 'index.html'}")
    table = as_typed(f"asked={out / 'disagreements.csv'}")
    if judge is not None:
        _say_judge(judge, readers, disputed)
    where = "the source= and keep= of the label pages"
    classes = [classes_as_typed(readers.classes)] if is_ordered else []
    if not is_ordered:  # the order of the letters would be read as the order of the classes
        where = f"the source=, keep= and classes= ({', '.join(readers.classes)}) of the label pages"
    if rules["undecided"] and judge is None and readers.level == "slice":
        print("next: fistula label source=DIR", table, *classes, f"out=adjudication, with {where}")
        print("then: fistula agree as before with adjudicated=labels-READER-DATE.csv out=agreed")
    else:
        level = [] if readers.level == "slice" else ["labels.level=patient"]
        labels = as_typed(f"labels={out / 'consensus.csv'}")
        print("next: fistula ingest source=DIR", labels, *classes, *level, f"out=data/cohort, with {where}")


def say(row: Measure) -> str:
    """An estimate as the page and the terminal show it."""
    return f"{row.estimate:.1f}" if row.measure.startswith("median") else f"{row.estimate:.2f}"


def _judge(paths: list[Path], readers: Readers) -> Reading:
    judges, path = readings_of(paths), paths[0]
    if len(judges) != 1:
        found = ", ".join(judge.reader for judge in judges)
        raise DataError(f"adjudicated={path}", "must hold the answers of one reader", found=found)
    if unknown := {answer.label for answer in judges[0].first.values()} - {"", *readers.classes}:
        rule = "must use the readers' classes"
        raise DataError(f"adjudicated={path}", rule, found=", ".join(sorted(unknown)))
    return judges[0]


def _say_judge(judge: Reading, readers: Readers, disputed: dict[str, str]) -> None:
    """What of the adjudicator's answers was not taken, and whether one of the readers judged."""
    if judge.reader in readers.names:
        print(f"note: {judge.reader}, who adjudicated, is one of the readers")
    if others := sum(bool(answer.label) and key not in disputed for key, answer in judge.first.items()):
        print(f"note: {others} adjudicated answers are not for disagreements and were ignored")


def _disagreements(readers: Readers, disputed: dict[str, str]) -> str:
    key = "slice_key" if readers.level == "slice" else "patient_key"
    rows = [
        {key: name, "patient_key": readers.patients[readers.keys.index(name)], "reason": reason}
        | {f"answer_{one.reader}": one.first[name].label for one in readers.readings if name in one.first}
        for name, reason in disputed.items()
    ]
    names = [f"answer_{reader}" for reader in readers.names]
    return as_csv(rows, list(dict.fromkeys([key, "patient_key", "reason", *names])))


def _page(readers: Readers, rows: list[Measure], disputed: dict[str, str], rules: Counter[str]) -> str:
    answers = []
    for column, reading in enumerate(readers.readings):
        given = Counter(readers.ratings[:, column].tolist())
        unsure = sum(answer.is_unsure for answer in reading.first.values())
        counts = [given[index] for index in range(len(readers.classes))]
        answers.append((reading.reader, [*counts, unsure, len(readers.keys) - sum(counts) - unsure]))
    reasons = Counter("openings too far apart" if why.startswith("openings") else why for why in disputed.values())
    return template("labels", "agree.html").render(
        readers=readers, names=readers.names, unit="slices" if readers.level == "slice" else "patients",
        patients=len(set(readers.patients)), say=say, answers=answers, reasons=reasons.most_common(),
        groups=[(who, list(found)) for who, found in groupby(rows, key=lambda row: row.who)],
        rules=rules.most_common(), version=__version__,
    )  # fmt: skip


def _plain(row: Measure) -> dict[str, object]:
    counts = {"rows": row.rows, "patients": row.patients}
    return {"who": row.who, "measure": row.measure} | row.estimate.as_json() | counts


def _print(rows: list[Measure], readers: Readers) -> None:
    of_slices = ["slices"] if readers.level == "slice" else []
    table = Table("who", "measure", "estimate (95% CI)", *of_slices, "patients", show_edge=False)
    for row in rows:
        table.add_row(row.who, row.measure, say(row), *([str(row.rows)] if of_slices else []), str(row.patients))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=150)).print(table)
