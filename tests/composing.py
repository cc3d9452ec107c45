"""Hydra's configurations, of which the tests need thousands, without reading and merging the same files as often."""

import copy
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository

from fistula.cli import config_folder

MOST = 64  # whole configurations that are kept


def compose_from_memory(patch):
    """Keep the files of conf/ that were read, what was merged of them, and the last results; give copies.

    Other folders of configurations are read each time: tests change their files.
    """
    files, merged, whole = {}, {}, {}
    read, merge, load = (
        ConfigRepository.load_config,
        ConfigLoaderImpl._compose_config_from_defaults_list,
        ConfigLoaderImpl.load_configuration,
    )

    def known(memory, key, sources, make):
        places = [source.path for source in sources if source.provider not in ("hydra", "schema")]
        if [Path(place).resolve() for place in places] != [config_folder().resolve()]:
            return make()
        made = memory.pop(key) if key in memory else make()
        memory[key] = made  # the last one
        if memory is whole and len(memory) > MOST:
            del memory[next(iter(memory))]
        return copy.deepcopy(made)

    def read_once(self, config_path):
        return known(files, config_path, self.get_sources(), lambda: read(self, config_path))

    def merge_once(self, defaults, repo):
        return known(merged, repr(defaults), repo.get_sources(), lambda: merge(self, defaults, repo))

    def load_once(self, config_name, overrides, *rest, **named):
        key = (config_name, tuple(overrides), rest, tuple(named.items()))
        cfg = known(whole, key, self.get_sources(), lambda: load(self, config_name, overrides, *rest, **named))
        cfg.hydra.runtime.cwd = str(Path.cwd())
        return cfg

    patch.setattr(ConfigRepository, "load_config", read_once)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
    patch.setattr(ConfigLoaderImpl, "load_configuration", load_once)
