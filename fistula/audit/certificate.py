"""What an audit found, whether that stops the run, and how both are written down."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fistula.audit.findings import Finding
from fistula.cohort.look.confounding import Association
from fistula.errors import ConfigError, DataError, LeakageError

# What holds however a run is configured, because nothing in the code could do otherwise.
BY_CONSTRUCTION = (
    "the intensities of a series are scaled by constants or by its own values, and inputs by constants of the network",
    "thresholds and calibration are fitted on the validation set and applied to the test set unchanged",
)


@dataclass(frozen=True)
class Certificate:
    """The outcome of an audit."""

    split: str
    leaky_by_design: bool  # whether the split leaks because that is what it is for
    mode: str  # ``stop`` or ``warn``: what an unaccepted leak is to do
    cohort_fingerprint: str
    split_fingerprint: str
    counts: dict[str, int]  # patients, slices and folds
    checks: dict[str, dict[str, int]]  # for each kind, how many values were compared and how many leak
    search: dict[str, float]  # of near-duplicates: hash bits, thresholds, candidates, slices without detail
    findings: list[Finding]  # leaks first
    confounding: list[Association]  # of class and site with acquisition
    # AUROC by patient of facts that need no image; see `fistula.cohort.look.confounding.auroc_alone`.
    alone: dict[str, float | None]
    position: float | None  # AUROC by slice of the place in the stack; see `position_alone` there
    lacking: list[str]  # sentences on sequences that patients lack: how many of each class
    by_construction: tuple[str, ...]  # what needs no check
    unused_acceptances: list[str]  # ids accepted that name no finding here

    @property
    def open_leaks(self) -> list[Finding]:
        """Leaks that nobody has accepted."""
        return [finding for finding in self.findings if finding.is_leak and finding.accepted is None]

    @property
    def verdict(self) -> str:
        """One of: leaky by design, no leak, leaks accepted, leaks allowed by audit=warn, leaks."""
        if self.leaky_by_design:
            return "leaky by design"
        if not any(finding.is_leak for finding in self.findings):
            return "no leak"
        if not self.open_leaks:
            return "leaks accepted"
        return "leaks allowed by audit=warn" if self.mode == "warn" else "leaks"

    @property
    def is_marked(self) -> bool:
        """Whether the run and its report must say that its split leaks."""
        return self.verdict != "no leak"

    def enforce(self, where: object) -> None:
        """Stop the run if there is a leak that nothing allows; `where` is the file the certificate was written to.

        Raises:
            LeakageError: With the first leak and the number of them.
        """
        if self.verdict != "leaks":
            return
        first = self.open_leaks[0]
        rule = "no patient, slice or copy of one may be in two sets of a split"
        found = f"{len(self.open_leaks)} that do; the first, {first.id}: {first.detail}"
        remedy = "Correct the split, accept findings one by one (audit.accept=FILE), or mark the run (audit=warn)"
        raise LeakageError(where, rule, found=found, remedy=remedy)

    def to_json(self) -> str:
        """Everything above as JSON, with verdict and mark."""
        content: dict[str, Any] = {"verdict": self.verdict, "is_marked": self.is_marked, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_acceptances(path: Path) -> dict[str, str]:
    """Read a file of accepted findings: on each line an id, a space, and the reason; ``#`` starts a comment line.

    Raises:
        ConfigError: If there is no such file.
        DataError: If it is not text, a line has no reason, or an id stands on two lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"audit.accept={path}", f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(path, "must be a text file in UTF-8") from error
    reasons: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        identity, _, reason = line.strip().partition(" ")
        if not reason.strip():
            remedy = "Write why this finding may stand, after its id"
            raise DataError(
                f"{path}, line {number}", "needs an id, a space and a reason", found=identity, remedy=remedy
            )
        if identity in reasons:
            raise DataError(f"{path}, line {number}", "each finding is accepted once", found=f"{identity} again")
        reasons[identity] = reason.strip()
    return reasons
