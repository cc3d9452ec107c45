import numpy as np
import pytest

from fistula.phantom.canal import draw_canal
from fistula.phantom.parks import KINDS, draw_clock, draw_kind, draw_tract, draw_zone
from fistula.phantom.tract import Opening


def test_openings_lie_on_the_clock_as_surgeons_find_them():
    clock = np.array([draw_clock(np.random.default_rng(seed)) for seed in range(6000)])
    assert ((clock >= 0) & (clock < 12)).all()
    # 47.7 % between 5 and 7 o'clock in the literature.
    assert np.mean((clock >= 5) & (clock <= 7)) == pytest.approx(0.477, abs=0.03)
    anterior = np.mean((clock >= 11) | (clock <= 1))
    assert 0.15 < anterior < 0.26


def test_kinds_come_in_their_shares():
    kinds = [draw_kind(np.random.default_rng(seed)) for seed in range(4000)]
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)
    for kind, (share, _) in KINDS.items():
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_tract_runs_from_its_opening_to_the_skin_without_a_gap(kind, seed):
    rng = np.random.default_rng(seed)
    canal = draw_canal(rng, is_male=True)
    zone = draw_zone(rng, kind)
    tract = draw_tract(rng, canal, kind, Opening(draw_clock(rng), zone, 9.0, 2.0, 0.02))
    points = tract.courses[0].points
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < 1.0
    assert points[:, 2].max() > zone + 4.5  # seen above the opening too
    assert points[-1, 2] < 0  # below the verge: the skin
    # Outside the internal sphincter all the way: only the breach goes through.
    angles = np.arctan2(points[:, 0], -points[:, 1])
    inner = [float(canal.radii(angle, level)[2]) for angle, level in zip(angles, points[:, 2], strict=True)]
    assert (np.hypot(points[:, 0], points[:, 1]) > np.array(inner) - 0.6).all()
