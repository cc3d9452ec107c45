"""Which of timm's networks work here: a member of each of its families is tried, and the guide's table written.

python benchmarks/networks.py [choose]: write docs/networks.md, in a quarter of an hour on one core; with `choose` find
the smallest member of each family anew first.
"""

import re
import sys
import warnings
from pathlib import Path

import timm
import torch

from fistula.errors import FistulaError
from fistula.explain.cam import saliency
from fistula.learning.backbone import Backbone, create_backbone
from fistula.learning.building.dry_run import skeleton_of
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.modes import AllLayers, FromTheTop, LinearProbe, freeze, parameter_groups

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
SIZES = (96, 224)
MODES = {
    "transfer": AllLayers(pretrained=True),
    "layer_decay": AllLayers(pretrained=True, layer_decay=0.75),
    "linear_probe": LinearProbe(pretrained=True),
    "gradual": FromTheTop(pretrained=True, epochs=4, alone=0.25, all_by=0.5),
}
ALSO = (
    "deit_tiny_distilled_patch16_224",
    "levit_128s",
    "resnetv2_50x1_bit",
    "caformer_s18",
    "vit_small_patch14_dinov2",
)
TOP = """# Networks

One small member of each timm family, tested by a script (`python benchmarks/networks.py` writes this page). *Sizes*:
96 and 224 pixels work (*any*; most other sizes do as well), or the sizes that do. *Modes*: the learning modes that
train it (`transfer` includes `end_to_end`, and `gradual` includes `warm_head`). *Maps*: whether `fistula explain` and
the reading room can map it. *Strides*: those of the maps of its stages. Other members of a family nearly always
behave alike; a network that cannot work is refused before the first run.

| family | network | sizes | modes | maps | strides |
| --- | --- | --- | --- | --- | --- |
"""


def build(name: str, size: int | str, *, device: str = "meta") -> Backbone:
    with torch.device(device):
        return create_backbone(
            name, pretrained=False, download=False, num_classes=2, image_size=size, channels="adjacent"
        )


def trains(backbone: Backbone, mode: str) -> bool:
    """Whether a step of a mode gives a gradient to what trains, and to nothing else."""
    learning = MODES[mode]
    groups = parameter_groups(learning, backbone)
    freeze(learning, backbone, epoch=0)
    image = torch.empty(2, backbone.num_slices, backbone.input_size, backbone.input_size, device=backbone.scale.device)
    backbone(image).sum().backward()
    given = [one for one in backbone.network.parameters() if one.grad is not None]
    trained = [one for one in backbone.network.parameters() if one.requires_grad]
    for one in backbone.parameters():
        one.requires_grad_().grad = None
    grouped = sum(len(group["params"]) for group in groups)
    return grouped == len(list(backbone.network.parameters())) and 0 < len(given) <= len(trained)


def row(name: str) -> str:
    """A network's row of the table, after the family's cell."""
    sizes, backbone, why = [], None, ""
    for size in (*SIZES, "pretrained"):
        if size == "pretrained" and len(sizes) == len(SIZES):
            break
        try:
            made = build(name, size)
        except FistulaError as error:
            why = error.rule
            continue
        backbone = backbone or made
        sizes.append(made.input_size)
    if backbone is None:
        return f"| {name} | none: {why} | | | |"
    shown = "any" if set(SIZES) <= set(sizes) else ", ".join(map(str, sorted(set(sizes))))
    modes = [mode for mode in MODES if trains(skeleton_of(backbone), mode)]
    torch.manual_seed(0)  # weights are random, and with some of them a map is even
    real = build(name, backbone.input_size, device="cpu").eval()
    image = torch.randint(0, 256, (1, 3, real.input_size, real.input_size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        kept = torch.allclose(real.classify(real.features(image)), real(image), rtol=1e-3, atol=1e-4)
    learned = ("all" if len(modes) == len(MODES) else ", ".join(modes)) + ("" if kept else " (no features kept)")
    return f"| {name} | {shown} | {learned} | {'yes' if has_map(real, image) else 'no'} | {strides(backbone)} |"


def has_map(backbone: Backbone, image: torch.Tensor) -> bool:
    """Whether a map varies over the image, for one class or the other."""
    options = dict.fromkeys(("learning", "loss", "optimizer", "schedule"))
    classifier = FistulaClassifier(backbone, num_classes=2, **options).eval()
    try:
        for _ in range(4):  # of random classes one may have nothing that speaks for it
            for weight in (weight for head in backbone.heads for weight in head.parameters()):
                torch.nn.init.normal_(weight)
            if any(saliency(classifier, image, target=target).std() > 0 for target in (0, 1)):
                return True
    except FistulaError:
        pass
    return False


def strides(backbone: Backbone) -> str:
    """Strides of the maps of a network's stages, from the finest."""
    size = backbone.input_size
    image = torch.empty(2, backbone.num_slices, size, size, dtype=torch.uint8, device="meta")
    try:
        maps, _ = skeleton_of(backbone.eval()).pyramid(image)
    except Exception:  # timm's networks have no error of their own
        return "none"
    return ", ".join(str(round(size / one.shape[-1])) for one in maps if one.shape[-1] > 1)


def chosen() -> dict[str, str]:
    """The smallest network of each of timm's families, by its parameters."""
    found = {}
    for family in timm.list_modules():
        sizes = {}
        for name in timm.list_models(module=family):
            try:
                with torch.device("meta"):
                    sizes[name] = sum(one.numel() for one in timm.create_model(name, num_classes=2).parameters())
            except Exception as error:  # timm's own networks that timm cannot make here
                print(f"{name}: {error}", file=sys.stderr)
        found[family] = min(sizes, key=lambda name: (sizes[name], name))
    return found


def listed() -> list[tuple[str, str, str]]:
    """Family, network and the rest of each row of the page."""
    return [(m[1], m[2], m[0]) for m in re.finditer(r"^\| (\w+) \| (\w+) \|.*$", PAGE.read_text(), re.MULTILINE)][1:]


def main() -> None:
    warnings.simplefilter("ignore")
    lines = {name: (family, rest) for family, name, rest in listed()}
    if sys.argv[1:] == ["choose"]:
        lines = {name: (family, "") for family, name in chosen().items()}
    for name in (*ALSO, *lines):
        lines[name] = family_of(name), f"| {family_of(name)} {row(name)}"
        print(lines[name][1], flush=True)
        rows = sorted((family, rest) for family, rest in lines.values())
        PAGE.write_text(TOP + "".join(f"{rest}\n" for _, rest in rows))


def family_of(name: str) -> str:
    """The module of timm that has a network."""
    return timm.model_entrypoint(name).__module__.rpartition(".")[2]


if __name__ == "__main__":
    main()
