"""Run in a network namespace beside an Orthanc: store, predict from, and store back to a real archive.

Arguments: folder of the study to predict with, two folders of one patient each, folder to write into; and, where the
archive speaks TLS, a folder with the certificate of its authority and of another. Prints JSON.
"""

import asyncio
import json
import ssl
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pydicom

from fistula.archive import dimse, web
from fistula.archive.address import Manners, parse
from fistula.cli import run_command
from fistula.errors import ArchiveError

PLAIN_PORT, TLS_PORT = 18042, 18043
DIMSE = "dimse://ORTHANC@127.0.0.1:14242"


def encrypt(certificate: Path) -> None:
    """Stand before the archive's web side on a port of its own, as a proxy that speaks TLS does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while block := await source.read(1 << 16):
            sink.write(block)
            await sink.drain()
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", PLAIN_PORT)
        await asyncio.gather(pass_on(reader, outside), pass_on(inside, writer), return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(relay, "127.0.0.1", TLS_PORT, ssl=context)
        ready.set()
        await server.serve_forever()

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()


def ingest(folder: Path, source: str, out: Path, manners: list[str]) -> None:
    """A cohort of a study from the archive, and beside it one of the same study from its folder."""
    images = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sorted(folder.glob("*.dcm"))]
    table = out.with_suffix(".csv")
    table.write_text("\n".join(["sop_instance_uid,label", *(f"{uid},{n % 2}" for n, uid in enumerate(images))]))
    small = [f"labels={table}", "keep=all", "size=32", "workers.count=1"]
    run_command("ingest", [*small, *manners, f"source={source}", f"out={out}"])
    run_command("ingest", [*small, f"source={folder}", f"out={out}-folder"])


def main() -> None:
    study, first, second, out, *secrets = map(Path, sys.argv[1:])
    archive = f"dicomweb://127.0.0.1:{TLS_PORT if secrets else PLAIN_PORT}/dicom-web"
    manners, common = Manners(timeout_s=20), [f"run={study}", "workers.count=1", "dicom=true", "overlays=all"]
    if secrets:
        encrypt(secrets[0] / "server.pem")
        manners = replace(manners, tls=True, ca_file=str(secrets[0] / "ca.pem"))
        common += ["archive.tls=true", f"archive.ca_file={manners.ca_file}"]
    web.store(parse(archive, key="send", whole=True), sorted(first.glob("*.dcm")), manners)
    dimse.store(parse(DIMSE, key="send", whole=True), sorted(second.glob("*.dcm")), manners)
    uids = [str(pydicom.dcmread(next(folder.glob("*.dcm"))).StudyInstanceUID) for folder in (first, second)]
    sources = [f"{archive}/studies/{uids[0]}", f"{DIMSE}/{uids[1]}"]
    for name, folder, source in zip(("web", "dimse"), (first, second), sources, strict=True):
        ingest(folder, source, out / f"cohort-{name}", [one for one in common if one.startswith("archive.")])
    run_command("predict", [*common, f"source={archive}/studies/{uids[0]}", f"out={out / 'web'}", f"send={DIMSE}"])
    run_command("predict", [*common, f"source={DIMSE}/{uids[1]}", f"out={out / 'dimse'}", f"send={archive}"])
    back = {}
    for name, uid in zip(("web", "dimse"), uids, strict=True):
        (out / f"back-{name}").mkdir()
        web.fetch(parse(f"{archive}/studies/{uid}", key="source"), out / f"back-{name}", manners)
        objects = [pydicom.dcmread(path) for path in (out / f"back-{name}").iterdir()]
        back[name] = sorted(f"{one.Modality} {one.SOPInstanceUID}" for one in objects)
    attempts = {"none": ("1.2.3", manners), "many": (uids[0], replace(manners, max_instances=1))}
    if secrets:
        another = str(secrets[0] / "another.pem")
        attempts["another authority"] = (uids[0], replace(manners, ca_file=another, retries=0))
        attempts["no authority"] = (uids[0], replace(manners, ca_file=None, retries=0))
        attempts["in the clear"] = (uids[0], replace(manners, tls=False, retries=0, timeout_s=3))
    refusals = {}
    for name, (uid, how) in attempts.items():
        for module, address in ((web, f"{archive}/studies/{uid}"), (dimse, f"{DIMSE}/{uid}")):
            try:
                module.fetch(parse(address, key="source"), out, how)
            except ArchiveError as error:
                refusals.setdefault(name, []).append(str(error))
    print(json.dumps({"back": back, "refusals": refusals}))


if __name__ == "__main__":
    main()
