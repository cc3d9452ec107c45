"""Check every run of a sweep before the first one starts."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from fistula.errors import ConfigError, FistulaError
from fistula.sweep import warm
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
    """Build each network of the sweep once, pretrained weights included, in a process that gives its memory back.

    Each is tried with images of the size and channels asked for, without computing anything (`dry_run`).

    Raises:
        FistulaError: If one does not exist or does not take such images, or its weights cannot be had.
    """
    models = {
        json.dumps(
            plan.resolved["model"] | {"num_classes": len(plan.cohort.classes), "image_size": plan.cfg.image_size},
            sort_keys=True,
        )
        for plan in plans
    }
    with ProcessPoolExecutor(1, mp_context=warm.context()) as executor:
        executor.submit(_build_networks, [json.loads(text) for text in sorted(models)]).result()


def _build_networks(models: list[dict[str, Any]]) -> None:
    from hydra.utils import instantiate

    for model in models:
        try:
            instantiate(model)
        except Exception as error:
            # On its way to another process an error loses its cause, and here that is what the user can mend.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, FistulaError):
                cause = cause.__cause__
            raise (cause or error) from None
