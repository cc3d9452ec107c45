"""Keep what a release wrote, for later ones to open: `python -m tests.releases.make 0.2.0`, once a release."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = (
    "phantom out=phantom patients=10 controls=10 slices.positive=2 slices.negative=0 slices.control=2 workers=1",
    "ingest source=phantom labels=phantom/labels.csv out=cohort classes=[normal,fistula] size=32 spacing_mm=2.0",
    "train -m cohort=cohort hydra.sweep.dir=study hydra/launcher=in_process model.architecture=test_resnet"
    " model.pretrained=false image_size=32 epochs=1 trainer=cpu learning=end_to_end split=patient_holdout logger=csv",
)


def main() -> None:
    """Write the study, its cohort inside it, and the slices of one patient to a folder of the version's name."""
    target = HERE / sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {"FISTULA_PSEUDONYM_KEY_FILE": str(folder / "key")}
        for command in COMMANDS:
            subprocess.run(
                [sys.executable, "-m", "fistula.cli", *command.split()], cwd=folder, env=environment, check=True
            )
        for path in folder.glob("study/*/csv"):
            shutil.rmtree(path)
        for path in folder.glob("study/*/config.yaml"):  # where it was made is nobody's business
            path.write_text(path.read_text().replace(f"{folder}/", ""))
        shutil.copytree(folder / "study", target / "study")
        shutil.copytree(sorted(path for path in (folder / "phantom").iterdir() if path.is_dir())[0], target / "slices")


if __name__ == "__main__":
    main()
