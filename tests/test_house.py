"""The shape of the code: imports run one way, and no module grows past what can be read in one go."""

import ast
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

import fistula
from fistula.cli import COMMANDS

PACKAGE = Path(fistula.__file__).parent
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted(PACKAGE.rglob("*.py"))
# What each room may import; everyone may import errors, folder, home and the package itself.
ARROWS = {
    "__init__": {"predict"},  # fistula.load, imported when it is first asked for
    "cli": {"ahead", "arguments", "commands", "mistakes", "sparing", "values"},
    "mistakes": {"arguments"},
    "commands": {
        "phantom",
        "dicom",
        "cohort",
        "learning",
        "sweep",
        "report",
        "predict",
        "explain",
        "archive",
        "serve",
        "evidence",
        "labels",
        "viewer",
        "source",
        "audit",
    },
    "source": {"dicom"},
    "labels": {"source", "dicom", "evidence", "viewer"},
    "viewer": set(),
    "phantom": {"dicom", "source"},
    "cohort": {"source", "labels", "dicom", "evidence"},
    "audit": {"cohort"},
    "learning": {"cohort", "evidence"},
    "sweep": {"ahead", "audit", "cohort", "evidence", "learning", "values"},
    "report": {"evidence", "sweep", "cohort", "explain", "predict", "viewer"},
    "predict": {"explain", "labels", "learning", "cohort", "source", "dicom", "evidence", "sweep", "viewer"},
    "archive": {"dicom"},
    "serve": {"predict", "source", "viewer"},
    "explain": {"learning", "evidence"},
    "plugins": {"sweep"},
    "ahead": set(),
    "forked": set(),
    "sparing": set(),
    "dicom": set(),
    "evidence": set(),
    "folder": {"leftovers"},
    "home": set(),
    "leftovers": set(),
    "errors": set(),
    "values": set(),
    "arguments": set(),
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down_only(path):
    own = room_of("fistula." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))
    targets = {room_of(name) for name in imports_of(path) if name.split(".")[0] == "fistula"}
    allowed = ARROWS.get(own, set()) | {own, "", "errors", "folder", "home"}
    assert targets <= allowed, f"{path.name} of {own} imports {targets - allowed}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_can_be_read_in_one_go(path):
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_a_folder_can_be_surveyed_in_one_look(folder):
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    if folder.name == "commands":
        assert modules == set(COMMANDS)  # one a command, however many there are
    else:
        assert len(modules) <= 15


# Of one meaning wherever they stand: what every command has, two ways to an archive, one statistic by two ways.
SHARED = {"run", "fetch", "store", "auroc", "balanced_accuracy"}


def test_a_name_means_one_thing_in_a_room():
    meant: dict[tuple[str, str], list[Path]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                meant.setdefault((path.relative_to(PACKAGE).parts[0], node.name), []).append(path)
    assert {name: paths for name, paths in meant.items() if len(paths) > 1 and name[1] not in SHARED} == {}


def test_nothing_is_there_for_nobody():
    """What a module defines is named once more: in the package, in a template, in conf/, or by a benchmark."""
    texts = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), *(ROOT / "conf").rglob("*.yaml")]
    texts += (ROOT / "benchmarks").glob("*.py")
    named = Counter(word for path in texts for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))
    idle = []
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            idle += [f"{path.name}: {name}" for name in names if named[name] < 2 and not name.startswith("__")]
    assert idle == []


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert rooms - {"conf"} <= ARROWS.keys()


def test_every_room_has_its_floor_in_the_guide():
    page = (ROOT / "docs" / "contributing.md").read_text()
    assert {room for room in ARROWS if f"`{room}`" not in page} <= {
        "__init__",
        "ahead",
        "arguments",
        "errors",
        "folder",
        "home",
        "leftovers",
        "forked",
        "mistakes",
        "sparing",
        "values",
    }


def test_the_drawing_of_the_house_shows_the_arrows_and_none_that_follows_from_two_others():
    page = (ROOT / "docs" / "contributing.md").read_text().partition("flowchart TD")[2].partition("```")[0]
    drawn = {
        (line.split(" --> ")[0].strip(), end)
        for line in page.strip().splitlines()
        for end in line.split(" --> ")[1].split(" & ")
    }
    small = {
        "__init__",
        "ahead",
        "arguments",
        "errors",
        "folder",
        "forked",
        "home",
        "mistakes",
        "plugins",
        "sparing",
        "values",
    }
    arrows = {(room, below) for room, all_below in ARROWS.items() for below in all_below if not {room, below} & small}

    def leads(room: str, below: str) -> bool:
        """Whether some way of two arrows or more leads there."""
        between = {end for start, end in arrows if start == room and end != below}
        return any((one, below) in arrows or leads(one, below) for one in between)

    assert drawn == {(room, below) for room, below in arrows if not leads(room, below)}


def test_only_one_room_opens_dicom():
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if any(n.startswith(("pydicom", "highdicom")) for n in imports_of(path))
    }
    assert users <= {"dicom"}


def test_evidence_is_numpy_and_scipy_alone():
    foreign = set()
    for path in (PACKAGE / "evidence").glob("*.py"):
        foreign |= {name.split(".")[0] for name in imports_of(path)}
    assert not foreign & {"torch", "sklearn", "polars", "pandas", "torchmetrics", "matplotlib", "omegaconf"}


def test_the_version_stands_in_one_place():
    assert "version =" not in (PACKAGE.parent / "pyproject.toml").read_text().replace("target-version =", "").replace(
        "python_version =", ""
    )


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_of_the_guide_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_part_of_a_page_leads_to_its_heading(page):
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)]+)\)", page.read_text())
    assert [link for link in links if link[1] not in headings(page.parent / link[0] if link[0] else page)] == []


def test_what_no_other_program_does_is_shown_by_a_test():
    table = (ROOT / "README.md").read_text().partition("| | fistula |")[2].partition("\n\n")[0]
    cells = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("|")][1:]
    assert len(cells) > 10
    for cell in cells:
        shown = re.findall(r"\]\((tests/[^)]+)\)", cell)
        assert shown or cell == "no", cell
        assert all("\ndef test_" in (ROOT / path).read_text() for path in shown), cell


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # one imports another
    pytest.importorskip("httpx", reason="the extra `dev` is not installed")
    assert "main" in runpy.run_path(str(path), run_name="imported")
