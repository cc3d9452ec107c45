"""Tracts by Parks' class: from the opening along, across, over or past the sphincters to the skin."""

import numpy as np

from fistula.phantom.canal import Canal, polar_point
from fistula.phantom.tissue import Tissue
from fistula.phantom.tract import Course, Opening, Tract, string

# Share of each class (the superficial fifth one included) and the zone of its opening, mm above the anal verge: the
# dentate line lies at about 20, an extrasphincteric tract opens above the levator.
KINDS: dict[str, tuple[float, tuple[float, float]]] = {
    "inter": (0.45, (15.0, 26.0)),
    "trans": (0.40, (15.0, 28.0)),
    "supra": (0.07, (18.0, 29.0)),
    "extra": (0.03, (37.0, 46.0)),
    "superficial": (0.05, (13.0, 16.0)),
}


def draw_kind(rng: np.random.Generator) -> str:
    """One of `KINDS` by its share."""
    return str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))


def draw_zone(rng: np.random.Generator, kind: str) -> float:
    """Level of the opening's middle for a class, mm above the verge."""
    return float(rng.uniform(*KINDS[kind][1]))


def draw_clock(rng: np.random.Generator) -> float:
    """Hours in [0, 12): half near 6 o'clock (posterior), a sixth near 12, the rest anywhere."""
    share = rng.random()
    if share < 0.50:
        return float(rng.normal(6, 0.7) % 12)
    return float((rng.normal(12, 0.7) if share < 0.67 else rng.uniform(0, 12)) % 12)


def draw_tract(
    rng: np.random.Generator,
    canal: Canal,
    kind: str,
    opening: Opening,
    *,
    is_open: bool = True,
    wall: Tissue = Tissue.TRACT,
    companions: dict[str, float] | None = None,
) -> Tract:
    """Draw a tract of a class.

    One that is not open has no breach, and stays outside the internal sphincter. `wall` is `TRACT` or `HEALED`;
    `companions` are the probabilities of `design.COMPANIONS`, none by default.
    """
    chance = companions or {"horseshoe": 0.0, "abscess": 0.0, "seton": 0.0}
    radius = rng.uniform(1.4, 3.0)
    main = string(_knots(rng, canal, kind, opening, radius), radius=radius, ends=0.75)
    courses = [main]
    if rng.random() < chance["horseshoe"]:
        courses.append(_horseshoe(rng, canal, opening, radius))
    pockets = (_pocket(rng, canal, main),) if rng.random() < chance["abscess"] else ()
    return Tract(
        courses=tuple(courses),
        opening=opening if is_open else None,
        wall=wall,
        halo=rng.uniform(0.6, 2.2) if wall is Tissue.TRACT and rng.random() < 0.8 else 0.0,
        has_seton=bool(rng.random() < chance["seton"]),
        pockets=pockets,
    )


def _knots(rng: np.random.Generator, canal: Canal, kind: str, opening: Opening, radius: float) -> np.ndarray:
    """Corners of the main course ``(K, 3)``, from its upper blind end down to the skin."""
    middle, half = opening.level, opening.extent / 2

    def at(level: float, layer: int, beyond: float, turn: float = 0.0) -> list[float]:
        angle = opening.angle(np.clip(level, middle - half, middle + half)) + turn
        edge = float(canal.radii(angle, level)[layer])
        return [*polar_point(edge + beyond, angle), level]

    # Outside the internal sphincter: its edge is layer 2, the external sphincter's layer 4.
    snug = 0.85 * radius
    upper = [at(level, 2, snug) for level in np.arange(middle + half + rng.uniform(3, 7), middle, -1.5)]
    turn = rng.choice([-1, 1]) * rng.uniform(0.2, 0.9)
    out = rng.uniform(12, 30)
    skin = [at(0, 4, out, turn), at(-6, 4, out + 6, turn)]
    if kind in ("inter", "superficial"):
        lower = [at(level, 2, snug) for level in np.arange(middle, 4, -1.5)]
        return np.array(upper + lower + [at(0, 4, 3, turn / 2), at(-6, 4, 8, turn / 2)])
    if kind == "trans":
        crossing = middle - rng.uniform(-2, 5)
        lower = [at(level, 2, snug) for level in np.arange(middle, crossing, -1.0)]
        fossa = [
            at(crossing - 1, 4, 1.0),
            at(crossing - 4, 4, 6, turn * 0.4),
            at((crossing - 4) / 2, 4, out * 0.6, turn),
        ]
        return np.array(upper + lower + fossa + skin)
    if kind == "supra":
        rise = [at(level, 2, snug) for level in np.arange(middle - half - 3, 37, 1.5)]
        over = [at(38, 2, 12), at(32, 2, 17, turn * 0.3), at(15, 2, 22, turn * 0.6)]
        return np.array(rise + over + skin)
    past = [at(middle - 2, 2, 10), at(middle - 10, 2, 18, turn * 0.5), at(15, 2, 24, turn)]
    return np.array(upper + past + skin)


def _horseshoe(rng: np.random.Generator, canal: Canal, opening: Opening, radius: float) -> Course:
    """An arm on each side of the opening, within the plane or outside the external sphincter."""
    layer, beyond = [(2, 0.85 * radius), (4, rng.uniform(2, 5))][rng.integers(2)]
    turns = np.linspace(-rng.uniform(0.6, 1.8), rng.uniform(0.6, 1.8), 15)
    levels = opening.level - rng.uniform(0, 4) - 2.5 * np.abs(turns)
    angles = opening.angle(opening.level) + turns
    edges = np.array([canal.radii(angle, level)[layer] for angle, level in zip(angles, levels, strict=True)])
    knots = np.column_stack([polar_point(edges + beyond, angles), levels])
    return string(knots, radius=radius * 0.9, ends=0.9)


def _pocket(rng: np.random.Generator, canal: Canal, course: Course) -> tuple[float, ...]:
    """An abscess somewhere along the lower half of a course: small in the plane, up to 40 mm across in the fossa."""
    x, y, level = course.points[rng.integers(len(course.points) // 3, len(course.points) * 3 // 4)]
    angle = np.arctan2(x, -y)
    external = float(canal.radii(angle, level)[4])
    out = np.hypot(x, y)
    size = rng.uniform(2.5, 5.0) if out < external else rng.uniform(5, 14)
    x, y = polar_point(max(out, float(canal.radii(angle, level)[2]) + 0.9 * size), angle)
    axes = size * rng.uniform(0.8, 1.3), size, size * rng.uniform(1.0, 1.8)
    return x, y, level, *axes, min(rng.uniform(1.2, 3), size / 2)
