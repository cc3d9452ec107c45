"""Check every run of a sweep before the first one starts."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fistula.errors import ConfigError
from fistula.sweep.engines import warm
from fistula.sweep.plan import RunPlan


def check_folders(plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans, each run once, none in a folder that holds something else.

    Raises:
        ConfigError: If a folder does, or if two different runs would share one.
    """
    distinct: dict[Path, RunPlan] = {}
    for plan in plans:
        plan.folder.check()
        other = distinct.setdefault(plan.folder.path, plan)
        if other.folder.fingerprint != plan.folder.fingerprint:
            differing = [key for key, value in plan.folder.identity.items() if other.folder.identity.get(key) != value]
            rule = f"two runs of this sweep, which differ in {', '.join(differing)}, would share this folder"
            raise ConfigError(plan.folder.path, rule, remedy="Put what differs into hydra.sweep.subdir")
    return list(distinct.values())


def check_splits(plans: Sequence[RunPlan], study: Path) -> None:
    """Let each split of the sweep pass the audit.

    Raises:
        LeakageError: If one has a leak that nothing allows.
    """
    for plan in {(plan.split.name, plan.fingerprints["split_fingerprint"]): plan for plan in plans}.values():
        plan.pass_gate(study)


def check_networks(plans: Sequence[RunPlan]) -> None:
    """Build the networks of the sweep and its other parts once, each, in a process that gives its memory back.

    Each network, pretrained weights included, is tried with images of the size and channels asked for, without
    computing anything (`dry_run`); each augmentation is drawn from.

    Raises:
        FistulaError: If one does not exist, cannot be built or does not take such images, or its weights cannot be had.
    """
    wanted = {}
    for plan in plans:
        number, size = len(plan.cohort.classes), plan.cfg.image_size
        seen = {"num_classes": number, "image_size": size, "available": plan.cohort.sequences}
        given = {"model": seen, "loss": {"class_counts": [1] * number}}
        for group in ("learning", "augmentation", "optimizer", "schedule", "loss", "operating_point", "model"):
            part = {"group": group, "node": plan.resolved[group], "given": given.get(group, {}), "size": size}
            part |= {"head": plan.resolved["head"]} if group == "model" else {}
            wanted[json.dumps(part, sort_keys=True)] = part
    with ProcessPoolExecutor(1, mp_context=warm.context()) as executor:
        executor.submit(_build, list(wanted.values())).result()


def _build(parts: list[dict[str, Any]]) -> None:
    from fistula.learning.building.making import make, try_pipeline
    from fistula.learning.places.points import POINTS

    for part in sorted(parts, key=lambda part: part["group"] == "model"):
        group, size = part["group"], part["size"]
        made = make(OmegaConf.create({group: part["node"]})[group], **part["given"])
        if group == "model":
            make(OmegaConf.create({"head": part["head"]}).head, backbone=made, kinds=POINTS, pixel_mm=None)
        if group == "augmentation":
            try_pipeline(made, size if isinstance(size, int) else 224)
