"""The keys and options that users write stand in `public_keys.txt`: none comes, goes or is renamed unseen.

`python -m tests.test_public_keys` writes the file anew; a key that goes or is renamed is said in CHANGELOG.md.
"""

from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fistula.cli import COMMANDS, config_folder
from fistula.sweep.folder.run import register_run_name

FILE = Path(__file__).with_name("public_keys.txt")


def public_keys() -> list[str]:
    """Lines such as `train optimizer.lr`, and `optimizer=adamw` for each option of a group."""
    register_run_name()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        keys = {f"{command} {key}" for command in COMMANDS for key in _keys(compose(command))}
    options = (path.relative_to(config_folder()) for path in config_folder().rglob("*/*.yaml"))
    return sorted(keys) + sorted(f"{path.parent.as_posix()}={path.stem}" for path in options)


def _keys(cfg: DictConfig, above: str = "") -> Iterator[str]:
    for key in cfg:
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing() and len(node):
            yield from _keys(node, f"{above}{key}.")
        elif key not in ("_target_", "_partial_"):
            yield f"{above}{key}"


def test_the_keys_and_options_are_those_that_are_promised():
    promised, there = FILE.read_text().splitlines(), public_keys()
    gone, new = sorted(set(promised) - set(there)), sorted(set(there) - set(promised))
    assert not gone, f"gone or renamed: {gone}; say so in CHANGELOG.md and run python -m tests.test_public_keys"
    assert not new, f"new: {new}; run python -m tests.test_public_keys"


if __name__ == "__main__":
    FILE.write_text("\n".join(public_keys()) + "\n")
