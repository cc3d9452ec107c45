"""A page of W&B for one study: what each setting is worth, and how the runs trained, laid out beforehand."""

import hashlib
from typing import Any

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces.expr import Metric, Summary

from fistula.errors import ConfigError

FACTORS = ("model", "learning", "epochs", "augmentation")
CURVES = ("val/auroc", "val/loss", "train/loss")


def study_workspace(entity: str, project: str, study: str, *, level: str = "patient") -> workspaces.Workspace:
    """Lay out the page of a study, whose name is that of its runs' group, for a team or user; nothing is sent.

    The AUROC that is compared is that of a `level`, ``patient`` or ``slice``.

    Returns:
        Sections for the settings (parallel coordinates, and the mean AUROC by each setting) and for the training; the
        runs are those of the study, the highest AUROC first.
    """
    auroc = f"test/{level}/auroc"
    columns = [panels.ParallelCoordinatesPlotColumn(panels.Config(f"factors.{name}"), name) for name in FACTORS]
    columns.append(panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(auroc), f"per-{level} AUROC"))
    worth = [
        panels.BarPlot(
            title=f"per-{level} AUROC by {name}, mean and SD of the runs",
            metrics=[auroc],
            groupby=panels.Config(f"factors.{name}"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            range_x=(0.0, 1.0),
        )
        for name in FACTORS
    ]
    curves: list[Any] = [
        panels.LinePlot(
            title=name, x="epoch", y=[name], groupby=panels.Config("factors.learning"), groupby_rangefunc="stddev"
        )
        for name in CURVES
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"fistula: {study}",
        sections=[
            workspaces.Section(
                name="Settings", panels=[panels.ParallelCoordinatesPlot(columns=columns), *worth], is_open=True
            ),
            workspaces.Section(name="Training", panels=curves, is_open=True),
        ],
        runset_settings=workspaces.RunsetSettings(
            filters=[Metric("Group") == study, Metric("JobType") == "train"],
            order=[workspaces.Ordering(Summary(auroc), ascending=False)],
            pinned_columns=[f"config:factors.{name}" for name in FACTORS] + [f"summary:{auroc}"],
        ),
    )


def save(workspace: workspaces.Workspace) -> str:
    """Save the page at W&B, in place of an earlier one of the same study.

    Gives its address.

    Raises:
        ConfigError: If W&B refuses it.
    """
    name = f"{workspace.entity} {workspace.project} {workspace.name}"
    workspace._internal_name = f"nw-{hashlib.sha256(name.encode()).hexdigest()[:11]}-v"
    try:
        workspace.save()
        return str(workspace.url)
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError("workspace", f"was not saved at W&B ({first})", found=workspace.entity) from error
