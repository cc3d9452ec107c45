"""The exclusion flow: how many were found, what was left out at each step and why, and how many are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass
class Flow:
    """Steps in order; each has a name, a unit (files or slices), what it left out by reason, and what remains."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, stage: str, *, unit: str, count: int, excluded: Mapping[str, int] | None = None) -> None:
        """Append a step: `count` remain after `excluded` (reason to number) were left out."""
        ordered = dict(sorted((excluded or {}).items(), key=lambda item: (-item[1], item[0])))
        self.steps.append({"stage": stage, "unit": unit, "count": count, "excluded": ordered})

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title="exclusion flow", title_justify="left", show_edge=False)
        for column in ("step", "remain", "", "left out", "why"):
            table.add_column(column, justify="right" if column in ("remain", "left out") else "left")
        for step in self.steps:
            lines = list(step["excluded"].items()) or [("", "")]
            for index, (reason, count) in enumerate(lines):
                head = (step["stage"], str(step["count"]), step["unit"]) if index == 0 else ("", "", "")
                table.add_row(*head, str(count), reason)
        return table
