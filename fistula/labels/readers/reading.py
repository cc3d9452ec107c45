"""A reader study's plan: which reader reads which patient in which session, alone or with AI, drawn by a seed."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from fistula.errors import ConfigError

ALONE, AIDED = "alone", "with AI"
PLAN = ("reader", "session", "turn", "patient_key", "modality")


@dataclass(frozen=True)
class Panel:
    """Who reads, and how often."""

    readers: list[str]  # names or initials; they name the pages
    is_aided: bool  # whether each reader reads every patient twice, once with AI
    washout: float  # weeks between the two sessions
    seed: int  # of the draw

    def __post_init__(self) -> None:
        if len(set(map(_plain, self.readers))) < len(self.readers) or not all(map(_plain, self.readers)):
            rule = "must be different names or initials, in letters and digits: they name the pages"
            raise ConfigError("readers", rule, found=", ".join(self.readers))
        if any(re.search('[,;"]', name) for name in self.readers):
            raise ConfigError("readers", "must have no comma, semicolon or quote", found=", ".join(self.readers))

    @property
    def sessions(self) -> int:
        """Two where patients are read with AI as well."""
        return 2 if self.is_aided else 1


def plan_readings(panel: Panel, patients: list[str]) -> pl.DataFrame:
    """Draw the plan.

    A crossover: the patients are halved by lot, and so are the readers. In the first session one half of the readers
    reads the first half of the patients alone and then the second with AI, the other half of the readers the first with
    AI and then the second alone; in the second session modalities and order of the blocks are exchanged. So each reader
    reads every patient once in each modality, sees as many patients in either modality in each session, and begins one
    session alone and one with AI. Within a block, each reader has an order of patients of his or her own. Columns are
    those of `PLAN`, in the order of reading; ``turn`` counts from 1 in each session.

    Example:
        >>> plan = plan_readings(Panel(["AB", "CD"], True, 4, 0), ["p1", "p2", "p3"])
        >>> plan.group_by("reader", "session").len()["len"].to_list()
        [3, 3, 3, 3]
    """
    random = np.random.default_rng(panel.seed)
    drawn = random.permutation(sorted(patients)).tolist()
    halves = drawn[: (len(drawn) + 1) // 2], drawn[(len(drawn) + 1) // 2 :]
    rows = []
    for number, place in enumerate(random.permutation(len(panel.readers)).tolist()):
        reader, group = panel.readers[place], number % 2
        for session in range(1, panel.sessions + 1):
            if panel.is_aided:
                # Which half is read alone, and which modality comes first: both change with group and session.
                alone = (group + session - 1) % 2
                blocks = [(ALONE, halves[alone]), (AIDED, halves[1 - alone])]
                blocks = blocks if (group + session) % 2 else blocks[::-1]
            else:
                blocks = [(ALONE, drawn)]
            turns = [(key, modality) for modality, keys in blocks for key in random.permutation(keys).tolist()]
            rows += [(reader, session, turn, key, modality) for turn, (key, modality) in enumerate(turns, 1)]
    schema = dict(zip(PLAN, (pl.String, pl.Int64, pl.Int64, pl.String, pl.String), strict=True))
    return pl.DataFrame(rows, schema=schema, orient="row").sort("reader", "session", "turn")


def page_name(reader: str, session: int, number: int, of: int) -> str:
    """File name of a reader's page; numbered where the patients of a session need several."""
    return f"{_plain(reader)}-session-{session}{f'-page-{number}' if of > 1 else ''}.html"


def _plain(name: str) -> str:
    return re.sub(r"[^\w]+", "_", name).strip("_")
