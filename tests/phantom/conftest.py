"""Designs composed from conf/, and patients drawn from them."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fistula.cli import config_folder
from fistula.phantom.patient import Person, draw_patient

STEP_MM = 1.0


@pytest.fixture(scope="session")
def make_design():
    """A design of conf/phantom/, by its name."""

    def make(name="perianal"):
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return instantiate(compose("phantom", [f"phantom={name}"]).phantom, _convert_="all")

    return make


@pytest.fixture(scope="session")
def make_patient(make_design):
    """A patient by number; nine positive and two negative slices, or nine negative ones."""
    design = make_design()

    def make(number, *, has_fistula):
        person = Person(number, has_fistula, number % 3 > 0, 0, 9, 2 if has_fistula else 0)
        return draw_patient(np.random.default_rng([5, number]), person, design, step=STEP_MM)

    return make
