"""Maps of where a finding is: what they should be, how far they are from it, and the places that they name."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, max_pool2d


def gaussians(points: Tensor, *, sigma: float, size: tuple[int, int]) -> Tensor:
    """Maps with a Gaussian of height 1 at each point, and nothing where there is none.

    Gives ``(B, M, H, W)``, in [0, 1].

    Args:
        points: Row and column on the map, the centre of the first pixel at 0, ``(B, M, 2)``: M kinds of point; NaN
            where a slice has none.
        sigma: Standard deviation in pixels of the map, above 0.
        size: Rows and columns of the map.

    Source:
        Zhou, Wang & Krähenbühl (2019), Objects as Points, arXiv 1904.07850, section 3.
    """
    rows = torch.arange(size[0], device=points.device, dtype=points.dtype)
    columns = torch.arange(size[1], device=points.device, dtype=points.dtype)
    down = (rows - points[..., :1]) ** 2
    right = (columns - points[..., 1:]) ** 2
    heights = torch.exp(-(down[..., :, None] + right[..., None, :]) / (2 * sigma**2))
    return heights.nan_to_num(0.0)


def focal(logits: Tensor, points: Tensor, *, sigma: float) -> Tensor:
    """Penalty-reduced focal loss of each map, summed over its pixels; near a point a false peak costs less.

    The pixel nearest to the point is the positive one. A map without a point should be empty.

    Logits are ``(B, M, H, W)``; points and sigma as for `gaussians`, on the maps. Gives ``(B, M)``, at least 0.

    Source:
        Law & Deng (2018), CornerNet, arXiv 1808.01244, eq. 1, with its exponents 2 and 4.
    """
    values = logits.float()
    wanted = gaussians(points.float(), sigma=sigma, size=(values.shape[2], values.shape[3]))
    is_peak = gaussians(points.float().round(), sigma=0.1, size=(values.shape[2], values.shape[3])) > 0.5
    probability = values.sigmoid()
    found = -logsigmoid(values) * (1 - probability) ** 2
    missed = -logsigmoid(-values) * probability**2 * (1 - wanted) ** 4
    return torch.where(is_peak, found, missed).sum(dim=(2, 3))


def maps_loss(logits: Tensor, points: Tensor, labels: Tensor, *, sigma: float) -> Tensor:
    """What is minimised of maps beside the loss of their score: `focal` where they are known, mean over the slices.

    A positive slice whose finding was not marked teaches nothing here. So it is with the other kinds of point: without
    one, nothing is known of their map.

    Logits are ``(B, M, H, W)``, the first map that of the finding; labels 0 or 1, ``(B,)``, -1 where nothing is known
    of a slice; points and sigma as for `gaussians`.
    """
    is_known = ~points[..., 0].isnan()
    is_known = torch.cat([is_known[:, :1] | (labels == 0)[:, None], is_known[:, 1:]], dim=1)
    return (focal(logits, points, sigma=sigma) * is_known).sum(dim=1).mean()


def score_of_map(logits: Tensor) -> Tensor:
    """One logit a map from all its pixels: the soft maximum, so that a score and its place say the same.

    The mean would let a small finding drown, the maximum teach one pixel at a time. Logits are ``(B, H, W)``. Gives
    ``(B,)``: the log of the mean of the exponentials, above the mean and below the maximum.
    """
    flat = logits.float().flatten(1)
    return flat.logsumexp(dim=1) - math.log(flat.shape[1])


def peaks(logits: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
    """The highest local maxima of maps, to a fraction of a pixel, the highest first.

    Logits are ``(B, H, W)``.

    Returns:
        Row and column ``(B, most, 2)``, and probabilities ``(B, most)``. A map with fewer local maxima ends in NaN and
        0; one that is even throughout has none.
    """
    values = logits.float()
    batch, height, width = values.shape
    is_peak = (max_pool2d(values[:, None], 3, stride=1, padding=1)[:, 0] == values) & (
        values > values.flatten(1).amin(dim=1)[:, None, None]
    )
    candidates = torch.where(is_peak, values, -torch.inf).flatten(1)
    most_there = min(most, candidates.shape[1])
    heights, places = candidates.topk(most_there, dim=1)
    rows, columns = places // width, places % width
    probability = values.sigmoid()
    whole = torch.arange(batch, device=values.device)[:, None]

    def shift(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
        # The parabola through the logs of three values; a Gaussian's is exact.
        curve = (before - 2 * here + after).clamp(max=-1e-12)
        return ((before - after) / (2 * curve)).clamp(-0.5, 0.5)

    def beside(index: Tensor, step: int, end: int) -> Tensor:
        # At an edge the other side stands in: nothing is known beyond it.
        return torch.where((index + step < 0) | (index + step >= end), index - step, index + step)

    logs = logsigmoid(values)  # not the log of what has been rounded to 1 where a map is high
    here = logs[whole, rows, columns]
    up, down = (logs[whole, beside(rows, step, height), columns] for step in (-1, 1))
    left, right = (logs[whole, rows, beside(columns, step, width)] for step in (-1, 1))
    points = torch.stack([rows + shift(up, here, down), columns + shift(left, here, right)], dim=2)
    is_there = heights > -torch.inf
    points = torch.where(is_there[..., None], points, torch.nan)
    found = torch.where(is_there, probability[whole, rows, columns], 0.0)
    if most_there < most:
        points = torch.cat([points, points.new_full((batch, most - most_there, 2), torch.nan)], dim=1)
        found = torch.cat([found, found.new_zeros(batch, most - most_there)], dim=1)
    return points, found
