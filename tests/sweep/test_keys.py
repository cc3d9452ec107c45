"""Every key of every group of `train`: what cannot be is one line that names the key, before anything is written."""

import copy
import math
import re
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from fistula.cli import config_folder
from fistula.cohort.manifest import read_cohort
from fistula.errors import FistulaError
from fistula.learning.building.making import make
from fistula.learning.experiment import build
from fistula.mistakes import mistake_behind
from fistula.sweep.keys import check_sweep
from fistula.sweep.plan import Planner

from ..conftest import TINY_RUN

GROUPS = (
    "audit",
    "augmentation",
    "head",
    "labelling",
    "learning",
    "logger",
    "loss",
    "model",
    "operating_point",
    "optimizer",
    "pooling",
    "sampler",
    "schedule",
    "split",
    "stopping",
    "trainer",
)
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((config_folder() / group).glob("*.yaml"))]
# One network stands for all, and one trainer: the others inherit its keys.
OPTIONS = [option for option in OPTIONS if not option.startswith(("model=", "trainer="))]
OPTIONS += ["model=resnet18", "trainer=auto"]
SWEEPS = [
    f"hydra/{part}={path.stem}"
    for part in ("launcher", "sweeper")
    for path in sorted((config_folder() / "hydra" / part).glob("*.yaml"))
]
# What stands in conf/train.yaml itself, but for names and places, and the groups.
OWN = "seed=0"
ELSEWHERE = ("cohort", "study_name", "run_name", "output_dir", *GROUPS)
IMAGES = "augmentation.images_per_slice: must be a number from 1 to 1000, or 2 of them, found "
WRONG = ("word", "''", "-3", "1e30", "100000000000", "[]", "null", "{}", "true", ".nan", "[1,word]")


def leaves(node, where=""):
    for key in node:
        value = node._get_node(key)
        name = f"{where}.{key}".lstrip(".") if isinstance(key, str) else f"{where}.{key}"
        if isinstance(value, DictConfig | ListConfig) and len(value):
            yield from leaves(node[key], name) if isinstance(value, DictConfig) else enumerated(node[key], name)
        else:
            yield name


def enumerated(values, where):
    for index, value in enumerate(values):
        yield from leaves(value, f"{where}.{index}") if isinstance(value, DictConfig) else [f"{where}.{index}"]


def keys_of(cfg, group):
    return leaves(cfg[group], group) if group else leaves(OmegaConf.masked_copy(cfg, cfg.keys() - ELSEWHERE))


def values_for(group, key):
    """Fewer for a pipeline, which has many keys of the same kinds; none where weights would be looked for."""
    if key.endswith("pretrained") or (group == "learning" and key.endswith("_target_")):
        return ()
    return ("word", "-3", "null") if group == "augmentation" else WRONG


@pytest.fixture
def tried(compose_train, cohort_folder):
    """Put each wrong value into a key in turn; give what was neither refused in one line nor built."""
    planner, cohort = Planner(), read_cohort(cohort_folder)

    def attempt(asked, key, value):
        cfg = copy.deepcopy(asked)
        OmegaConf.update(cfg, key, OmegaConf.create(f"value: {value}").value, merge=False, force_add=True)
        try:
            plan = planner.plan(cfg)
            build(plan.cfg, cohort, plan.table)
            if key.startswith("audit."):
                plan.pass_gate(cohort_folder)
        except Exception as error:
            known = mistake_behind(error, "train", keys=[], folder=config_folder())
            if known is None:
                return f"{key}={value}: {type(error).__name__}: {error}"
            last = [part for part in key.split(".") if not part.isdigit()][-1]
            named = last in str(known) or key.split(".")[0] in str(known).split(":")[0]
            return None if named and "\n" not in str(known) else f"{key}={value}: {known}"
        return None

    def attempts(option):
        group = "" if option == OWN else option.partition("=")[0]
        base = [one for one in TINY_RUN if not group or not one.startswith((f"{group}=", f"{group}."))]
        cfg = compose_train(*base, option, "model.pretrained=false", cohort=cohort_folder)
        OmegaConf.set_struct(cfg, value=False)
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            pairs = [(key, value) for key in keys_of(cfg, group) for value in values_for(group, key)]
            return [fault for key, value in pairs if (fault := attempt(cfg, key, value))]

    return attempts


@pytest.mark.slow
@pytest.mark.parametrize("option", [*OPTIONS, OWN])
def test_whatever_stands_in_a_key_of_a_group_is_legal_or_one_line_that_names_it(tried, option):
    assert tried(option) == []


@pytest.mark.parametrize("option", SWEEPS)
def test_whatever_stands_in_a_key_of_a_launcher_or_sweeper_is_legal_or_one_line_that_names_it(option):
    if option.endswith(("slurm", "ray")):
        pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    part = option.partition("=")[0].replace("/", ".")
    faults = []
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", ["cohort=cohort", option], return_hydra_config=True).hydra
        kept = ("runtime", "launcher", "sweeper", "mode", "run", "sweep", "job", "output_subdir")
        asked = OmegaConf.create({"hydra": {key: composed._get_node(key) for key in kept}})
        OmegaConf.set_readonly(asked.hydra, value=False)
        OmegaConf.set_struct(asked, value=False)
        asked.hydra.mode, asked.hydra.sweep.dir = RunMode.MULTIRUN, "study"
        # What Hydra's own loader gives each time that it is asked.
        loader = SimpleNamespace(load_configuration=lambda *_: default)
        default = GlobalHydra.instance().config_loader().load_configuration("train", [option], RunMode.MULTIRUN)
        for key, value in ((key, value) for key in leaves(asked.hydra[part[6:]], part) for value in WRONG):
            cfg = copy.deepcopy(asked)
            OmegaConf.update(cfg, key, OmegaConf.create(f"value: {value}").value, merge=False, force_add=True)
            try:
                check_sweep(cfg, loader)
                if not key.endswith("_target_"):  # Hydra looks for plugins by other ways
                    instantiate(cfg.hydra[part[6:]])
            except Exception as error:
                known = mistake_behind(error, "train", keys=[], folder=config_folder())
                if known is None or "\n" in str(known) or key.rpartition(".")[2] not in str(known):
                    faults.append(f"{key}={value}: {known or repr(error)}")
    assert faults == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("hydra.run.dir=''", "hydra.run.dir: must name a folder, found nothing"),
        ("-m hydra.sweep.dir=''", "hydra.sweep.dir: must name a folder, found nothing"),
        ("hydra.job.chdir=true", "hydra.job.chdir: must be false: paths begin where the command is given"),
        ("hydra.job.chdir=word", "hydra.job.chdir: cannot be word (Value 'word' is not a valid bool"),
        ("hydra.output_subdir=.hydra", "hydra.output_subdir: must be null"),
        ("hydra.job.env_copy=[FISTULA_NOT_SET]", "configuration: has a setting under hydra that Hydra cannot use"),
        ("hydra.verbose=-3", "configuration: has a setting under hydra that Hydra cannot use, found AssertionError"),
        ("-m hydra.launcher=true", "hydra.launcher: must be keys with values, found True"),
        ("-m hydra.launcher._target_=word", "configuration: has a setting under hydra that Hydra cannot use"),
        ("-m hydra.sweeper.params=word", "hydra.sweeper.params: must be keys with values, found word"),
        (
            "-m hydra/launcher=local hydra.launcher.engine.jobs_per_gpu=0",
            "jobs_per_gpu: must be auto or above 0 and at most 4096",
        ),
        (
            "-m hydra/sweeper=search optimizer.lr=interval(1,0)",
            "optimizer.lr: cannot be searched, found",
        ),
    ],
)
def test_what_hydra_itself_cannot_take_is_one_line_and_exit_code_2(fistula_here, cohort_folder, overrides, message):
    code, _, error = fistula_here("train", "cohort=cohort", *TINY_RUN, *overrides.split(" "))
    assert (code, error.count("\n")) == (2, 1), error
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=0", "epochs: must be at least 1 and at most 100000, found 0"),
        ("epochs=[1,2]", "epochs: must be a whole number, found [1, 2]"),
        ("+own=3", "own: is not used"),
        ("trainer.max_epochs=-1", "trainer.max_epochs: must be that of epochs, 1, found -1. Set epochs"),
        ("learning=gradual learning.epochs=7", "learning.epochs: must be that of epochs, 1, found 7"),
        ("image_size=true", "image_size: must be a whole number of pixels, or pretrained, found True"),
        ("logger=wandb logger.wandb.mode=onlin", "logger.wandb.mode: must be one of offline, online, shared, disabled"),
        ("logger=wandb logger.wandb.settings.console=of", "logger.wandb: cannot be built, found console: "),
        (
            "logger=wandb logger.wandb.settings.init_timeout=-1",
            "logger.wandb.settings.init_timeout: must be at least 1",
        ),
        ("audit.accept=true", "audit.accept: must be a word or null, found True"),
        ("model.weights=imagenet", "model.weights: must be auto, hub:OWNER/NAME, run:DIR or file:PATH, found imagenet"),
        *(
            (f"augmentation=color_jitter_expanded augmentation.images_per_slice={value}", f"{IMAGES}{found}")
            for value, found in [("null", "null"), ("true", "True"), ("1e9", "1000000000.0")]
        ),
        ("~loss._target_", "loss._target_: must name what to build"),
        ("~audit._target_", "audit._target_: must name what to build"),
        ("augmentation.transforms=[{p: 1}]", "augmentation.transforms[0]._target_: must name what to build"),
        ("~stopping._target_", "stopping._target_: must name what to build"),
        ("~logger.csv._target_", "logger.csv._target_: must name what to build"),
        ("epochs=ten", "epochs: must be a whole number, found ten"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches: must be at least 1e-09"),
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run: is set by the run itself, found True. Set experiment="),
        ("seed=-1", "seed: must be at least 0 and at most"),
        ("image_size=big", "image_size: must be a whole number of pixels, or pretrained, found big"),
        ("batch_size=1", "batch_size: must be at least 2 and at most 65536, found 1"),
        ("micro_batches=0", "micro_batches: must be at least 1"),
        ("num_workers=-1", "num_workers: must be auto or at least 0"),
        ("ema=nan", "ema: must be a number, found nan"),
        ("ema=1", "ema: must be at least 0 and at most 0.999999, found 1"),
        ("loss.label_smoothing=1.0", "loss.label_smoothing: must be at least 0 and at most 0.999999, found 1.0"),
        ("loss.class_balance=-1.0", "loss.class_balance: must be at least 0 and at most 10, found -1.0"),
        ("loss=focal loss.gamma=-1.0", "loss.gamma: must be at least 0"),
        *(
            (
                f"learning=layer_decay learning.pretrained=false learning.layer_decay={value}",
                f"layer_decay: must be {rule}",
            )
            for value, rule in [("0", "at least"), ("-0.5", "at least"), ("1.5", "at least"), ("nan", "a number")]
        ),
        ("pooling=attention pooling.hidden=0", "pooling.hidden: must be at least 1 and at most 65536, found 0"),
        ("pooling=attention pooling.dropout=1.0", "pooling.dropout: must be at least 0 and at most 0.999999, found 1"),
        ("pooling=transformer pooling.depth=0", "pooling.depth: must be at least 1 and at most 64, found 0"),
        ("model.options={drop_path_rate: nan}", "model.options.drop_path_rate: must be finite, found nan"),
        ("model.options={drop_path_rate: 1.5}", "model.options.drop_path_rate: must be at least 0 and at most 0.99"),
        ("model.architecture=resnet18.foo", "names no weights of timm's. Choose from resnet18.a1_in1k, "),
        ("model.architecture=vit_tiny_patch16_224_in21k", None),
        ("aggregation=median", "aggregation: must be one of"),
        ("schedule.warmup=5", "schedule.warmup: must be at least 0 and at most 0.999999, found 5"),
        ("optimizer.lr=-1", "optimizer.lr: must be at least 1e-30"),
        ("optimizer.lr=null", "optimizer.lr: must be a number, found null"),
        ("loss._target_=torch.nn.CrossEntropyLoss", "loss: cannot be built, found"),
        ("optimizer._target_=torch.optim.Adagrad", None),
        (
            "+optimizer.rate=1",
            "optimizer: cannot be built, found an unexpected keyword argument 'rate'. AdamW takes params, ",
        ),
        (
            "+schedule.begin=1",
            "found an unexpected keyword argument 'begin'. cosine takes optimizer, num_steps, warmup",
        ),
        (
            "schedule=constant schedule._target_=torch.optim.lr_scheduler.ConstantLR",
            "'num_steps'. A schedule is called with the optimizer and num_steps, and takes a step after each batch",
        ),
        ("optimizer._target_=torch.optim.Nothing", "optimizer: cannot be built, found No module named"),
        ("optimizer.betas=[2,3]", "optimizer: cannot be built, found Invalid beta parameter"),
        ("trainer.precision=half", "trainer: cannot be built, found Precision 'half' is invalid"),
        ("trainer.precision=transformer-engine", "trainer: cannot be built, found Requirement 'transformer_engine"),
        (
            "+trainer.accumulate_grad_batches=2",
            "trainer.accumulate_grad_batches: is set by the run itself, found 2. Set micro",
        ),
        (
            "+trainer.strategy=ddp_spawn",
            "trainer.strategy: is set by the run itself, found ddp_spawn. Set trainer.devices",
        ),
        ("+trainer.callbacks=[]", "trainer.callbacks: is set by the run itself, found []. Leave it out"),
        ("trainer.devices=word", "trainer.devices: must be a number of devices, auto or -1 for all of them"),
        ("trainer.devices=0", "trainer.devices: must be a number of devices"),
        ("trainer=auto trainer.deterministic=true trainer.benchmark=true", "trainer.benchmark: must be false with"),
        ("labelling=permuted_by_patient labelling.seed=-3", "labelling.seed: must be at least 0"),
        ("trainer.accelerator=abacus", "trainer: cannot be built, found"),
        ("model.options={drop_path_rte: 0.1}", "model.options.drop_path_rte: is not an option of test_vit"),
        ("model.options={checkpoint_path: a.pth}", "model.options.checkpoint_path: is not an option of a network"),
        ("model.std=0", "model.std: must be a number in (0, 1]"),
        ("model.channels=rgb", "model.channels: must be one of"),
        ("split.folds=1", "split.folds: must be at least 2"),
        ("split=image_holdout split.expand_before_split=4", "augmentation: must make the copies that split.expand"),
        ("stopping=patience stopping.patience=0", "stopping.patience: must be at least 1"),
        (
            "augmentation.transforms=[{_target_: albumentations.Normalize}]",
            "augmentation: must keep dtype and shape of an image, uint8 (32, 32), found float32 (32, 32)",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.CenterCrop, height: 16, width: 16, p: 0.01}]",
            "augmentation: must keep dtype and shape of an image, uint8 (32, 32), found uint8 (16, 16)",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.GaussNoise, var_limit: [10, 50]}]",
            "augmentation.transforms[0]: cannot be built, found Argument(s) 'var_limit' are not valid for transform "
            "GaussNoise. GaussNoise takes std_range, mean_range,",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.RandomResizedCrop, height: 48, width: 48}]",
            "augmentation.transforms[0]: cannot be built, found size: field required. RandomResizedCrop takes size, ",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.JpegCompression}]",
            "albumentations.JpegCompression'. Did you mean albumentations.ImageCompression?",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.Blur, blur_limit: 4}]",
            "augmentation.transforms[0]: cannot be built, found blur_limit: Non-zero kernel sizes must be odd",
        ),
        (
            "augmentation.transforms=[{_target_: albumentations.HueSaturationValue}]",
            "augmentation: cannot be built, found HueSaturationValue: hue_shift and sat_shift are not applicable to",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_training(compose_train, cohort_folder, override, message):
    base = [one for one in TINY_RUN if "architecture" not in one]
    network = "test_vit" if "options" in override else "test_resnet"
    parts = override.split(" ") if " " in override and "[" not in override and "{" not in override else [override]
    added = [f"+{one}" if ".betas" in one else one for one in parts]
    split = ["split=patient_kfold"] if "folds" in override else []
    cfg = compose_train(*base, f"model.architecture={network}", *split, *added, cohort=cohort_folder)

    def attempt():
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            plan = Planner().plan(cfg)
        build(plan.cfg, read_cohort(cohort_folder), plan.table)

    if message is None:
        attempt()
        return
    with pytest.raises(FistulaError, match=re.escape(message)) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_a_function_that_tells_nothing_of_its_arguments_can_be_made():
    node = OmegaConf.create({"loss": {"_target_": "torch.nn.functional.logsigmoid", "_partial_": True}})
    assert make(node.loss)(torch.zeros(1)).item() == pytest.approx(-math.log(2))
