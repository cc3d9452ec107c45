"""Whatever stands where another kind of value belongs is refused in one line, before anything is read."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import ListConfig, OmegaConf

from fistula.cli import COMMANDS, FREE, config_folder
from fistula.values import differences

GIVEN = {
    "ingest": ("source=tree", "labels=labels.csv", "out=cohort"),
    "doctor": ("source=tree",),
    "phantom": ("out=phantom",),
    "agree": ("out=agree",),
    "label": ("source=tree", "out=pages"),
    "status": ("study=study",),
    "preview": ("cohort=cohort",),
    "train": ("cohort=cohort",),
}


@pytest.mark.parametrize(
    ("command", "override", "message"),
    [
        ("ingest", "workers=1", "workers: must be keys with values, found 1"),
        ("ingest", "workers.count=two", "workers.count: must be a whole number, found two"),
        ("ingest", "workers.count=100000", "workers.count: must be at least 0 and at most 1024, found 100000"),
        ("ingest", "size=256.5", "size: must be a whole number, found 256.5"),
        ("ingest", "size=1000000", "size: must be at least 8 and at most 4096, found 1000000"),
        ("ingest", "spacing_mm=0", "spacing_mm: must be at least 0.01 and at most 100, found 0"),
        ("ingest", "spacing_mm=nan", "spacing_mm: must be a number, found nan"),
        ("agree", "points_mm=inf", "points_mm: must be a number, found inf"),
        ("status", "study=", "study: must be a path, found nothing"),
        ("agree", "adjudicated=", "adjudicated: must be a word or null, found nothing"),
        ("agree", "labels=1", "1: cannot be read"),
        ("preview", "cohort=true", "cohort: must be a path, found True"),
        ("preview", "out=null", "out: must be a word, found null"),
        ("preview", "seed=-1", "seed: must be at least 0"),
        ("preview", "draws=many", "draws: must be a whole number, found many"),
        ("train", "cohort=2024", "cohort=2024: is not a cohort folder"),
        ("train", "run_name=", "run_name: must be a name, found nothing"),
        ("status", "study=2024", "study=2024: must hold a run"),
        ("status", "every=nan", "every: must be a number, found nan"),
        ("ingest", "archive.timeout_s=nan", "archive.timeout_s: must be a number, found nan"),
        ("ingest", "spacing_mm=null", "spacing_mm: must be a number, found null"),
        ("ingest", "unmatched=skip", "unmatched: must be refuse or exclude, found skip"),
        ("ingest", "negatives=all", "negatives: must be one of none, other_patients, rest, found all"),
        ("ingest", "classes=2", "classes: must be a list of two or more different names, found 2"),
        ("label", "classes=[a,A]", "classes: must be 2 to 10 different names: one per key, found ['a', 'A']"),
        (
            "ingest",
            "labels.covariates=age",
            'labels.covariates: must be a list, found age. Write it in brackets: "labels.covariates=[age]"',
        ),
        (
            "ingest",
            "labels.segment=[tract]",
            "labels.segment: is for labels=masks or points, found ['tract']",
        ),
        ("ingest", "labels.within_mm=-1", "labels.within_mm: must be at least 0 and at most 1000, found -1"),
        ("ingest", "fit=both", "fit: must be longer or shorter, found both"),
        ("ingest", "keep.description='['", "keep.description: is not a valid regular expression"),
        ("ingest", "keep.component=[watr]", "keep.component: must be of 'water',"),
        ("ingest", "intensity=percentil", "intensity=percentil: is not one of"),
        ("ingest", "keep=2", "keep=2: is not one of all, mdixon_water, mr"),
        ("ingest", "keep.localizers=maybe", "keep.localizers: must be true or false, found maybe"),
        ("ingest", "keep.component=[1]", "keep.component[0]: must be a word, found 1"),
        ("ingest", "out=[a,b]", "out: must be a path, found ['a', 'b']"),
        ("doctor", "max_object_mb=x", "max_object_mb: must be a whole number, found x"),
        ("doctor", "seconds_per_file=-1", "seconds_per_file: must be at least 0.1 and at most 86400, found -1"),
        ("doctor", "json=nowhere/found.json", "json: must be in an existing folder, found nowhere/found.json"),
        ("phantom", "slices=9", "slices: must be keys with values, found 9"),
        ("phantom", "seed=-1", "seed: must be at least 0"),
        ("phantom", "phantom=[]", "phantom=[]: is not one of perianal, random, trivial, two_sequences"),
        ("phantom", "phantom=a 'b", "phantom=a 'b: cannot be read as key=value"),
        (
            "phantom",
            "phantom.tract_signal=null",
            "phantom.tract_signal: must be two positive numbers in order, found []",
        ),
        ("phantom", f"out={'x' * 300}", f"out={'x' * 300}: cannot be made (File name too long)"),
        ("preview", "out=sheet.pdf", "out: must end in .png, found sheet.pdf"),
        ("phantom", "phantom.sites=[1]", "phantom.sites[0]: must be keys with values, found 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(fistula_here, dicom_tree, tmp_path, command, override, message):
    before = sorted(tmp_path.iterdir())
    code, _, error = fistula_here(command, *GIVEN[command], override)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {message}")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train"}))
def test_every_value_of_every_command_has_a_kind(command):
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        default = compose(command)
    assert list(differences(default, default)) == []
    for key in default:
        if OmegaConf.is_missing(default, key) or default[key] is None or key in FREE.get(command, ()):
            continue
        other = 1 if isinstance(default[key], str | ListConfig) else "word"
        changed = OmegaConf.merge(default, {})
        changed._set_item_impl(key, other)
        found = [where for where, _, _ in differences(changed, default)]
        assert [where for where in found if where.partition(".")[0] not in FREE.get(command, ())] == [key]


CHECKED_WHERE_READ = {"classes", "segment", "labels", "sequences", "modality", "component", "orientation", "contrast"}


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train"}))
def test_what_may_be_null_may_not_be_anything_else(command):
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        default = compose(command, ["columns=own"] if command in ("ingest", "doctor") else [])
    nulls = [where for where in leaves(default) if OmegaConf.select(default, where) is None]
    for where in nulls:
        changed = OmegaConf.merge(default, {})
        OmegaConf.update(changed, where, {"a": 1}, merge=False, force_add=True)
        refused = [key for key, _, _ in differences(changed, default)]
        assert refused == [where] or where.rpartition(".")[2] in CHECKED_WHERE_READ
    assert nulls or command in ("preview", "export", "serve", "status", "weights")


def leaves(node, prefix=""):
    for key in node:
        if OmegaConf.is_missing(node, key):
            continue
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and child:
            yield from leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize(
    ("where", "value", "rule"),
    [
        ("accept", 0.5, "a word or null"),
        ("accept", True, "a word or null"),
        ("aid", ["a", "b"], "a word or null"),
        ("prevalence", "rare", "a number or null"),
        ("columns.label", ["a"], "a word or null"),
        ("tls", 1, "true, false or null"),
    ],
)
def test_of_what_may_be_null_the_kind_is_said(where, value, rule):
    default, given = OmegaConf.create({}), OmegaConf.create({})
    OmegaConf.update(default, where, None)
    OmegaConf.update(given, where, value)
    ((found, said, _),) = differences(given, default)
    assert (found, said) == (where, rule)
    assert list(differences(default, default)) == []


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("report", "study=study", "readers=[a.csv,b.csv]"), "readers: must name files, found a.csv"),
        (("agree", "labels=[a.csv,b.csv]", "adjudicated=[c.csv,d.csv]", "out=agreed"), "a.csv: cannot be read"),
        (("ingest", "source=tree", "labels=[a.csv,b.csv]", "out=cohort"), "a.csv: cannot be read"),
    ],
)
def test_several_tables_are_a_list(fistula_here, words, rule):
    code, _, error = fistula_here(*words)
    assert (code, rule in error, "a word" in error) == (2, True, False)


def test_a_number_may_be_whole_and_a_folder_called_by_one():
    default = OmegaConf.create({"spacing_mm": 0.8, "out": "???", "classes": None, "control": None})
    given = OmegaConf.create({"spacing_mm": 1, "out": "2024", "classes": [1, 2], "control": 9.02})
    assert list(differences(given, default)) == []
