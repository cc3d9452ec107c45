"""Run in a network namespace beside an Orthanc: store, predict from, and store back to a real archive.

Arguments: folder of the study to predict with, two folders of one patient each, folder to write into. Prints JSON.
"""

import json
import sys
from pathlib import Path

import pydicom

from fistula.archive import dimse, web
from fistula.archive.address import Manners, parse
from fistula.cli import run_command
from fistula.errors import ArchiveError

WEB, DIMSE = "dicomweb://127.0.0.1:18042/dicom-web", "dimse://ORTHANC@127.0.0.1:14242"


def main() -> None:
    study, first, second, out = map(Path, sys.argv[1:])
    manners = Manners(timeout_s=20)
    web.store(parse(WEB, key="send", whole=True), sorted(first.glob("*.dcm")), manners)
    dimse.store(parse(DIMSE, key="send", whole=True), sorted(second.glob("*.dcm")), manners)
    uids = [str(pydicom.dcmread(next(folder.glob("*.dcm"))).StudyInstanceUID) for folder in (first, second)]
    common = [f"run={study}", "workers.count=1", "dicom=true"]
    run_command("predict", [*common, f"source={WEB}/studies/{uids[0]}", f"out={out / 'web'}", f"send={DIMSE}"])
    run_command("predict", [*common, f"source={DIMSE}/{uids[1]}", f"out={out / 'dimse'}", f"send={WEB}"])
    back = {}
    for name, uid in zip(("web", "dimse"), uids, strict=True):
        (out / f"back-{name}").mkdir()
        web.fetch(parse(f"{WEB}/studies/{uid}", key="source"), out / f"back-{name}", manners)
        objects = [pydicom.dcmread(path) for path in (out / f"back-{name}").iterdir()]
        back[name] = sorted(f"{one.Modality} {one.SOPInstanceUID}" for one in objects)
    refusals = {}
    for name, attempt in {
        "web": lambda: web.fetch(parse(f"{WEB}/studies/1.2.3", key="source"), out, manners),
        "dimse": lambda: dimse.fetch(parse(f"{DIMSE}/1.2.3", key="source"), out, manners),
        "many": lambda: web.fetch(parse(f"{WEB}/studies/{uids[0]}", key="source"), out, Manners(max_instances=1)),
        "many dimse": lambda: dimse.fetch(parse(f"{DIMSE}/{uids[0]}", key="source"), out, Manners(max_instances=1)),
    }.items():
        try:
            attempt()
        except ArchiveError as error:
            refusals[name] = str(error)
    print(json.dumps({"back": back, "refusals": refusals}))


if __name__ == "__main__":
    main()
