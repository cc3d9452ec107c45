"""The web service: an upload in, scores as JSON or as a page out."""

import asyncio
import base64
import binascii
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fistula.cohort.workers import Workers
from fistula.errors import FistulaError
from fistula.predict.predictor import Predictor
from fistula.predict.source import reading
from fistula.predict.write import draw_overlays, render_page, stamp
from fistula.serve.uploads import UploadError, UploadLimits, check_archive, receive

SLICE_KEYS = ("slice_key", "patient_key", "series_uid", "instance_uid", "frame", "position_mm")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'"
FORM = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>fistula</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:36rem;padding:0 1rem}
.soft{color:#777}#state{min-height:1.5em}</style></head><body>
<h1>Score images</h1>
<p>A DICOM file, or a zip archive of one series or more. <span class="soft">Not a medical device. What is uploaded is
removed once it is answered.</span></p>
<p><label>file <input type="file" id="file"></label> <button id="go">score</button></p><p id="state" role="status"></p>
<script>
document.getElementById("go").onclick = async () => {
  const file = document.getElementById("file").files[0], state = document.getElementById("state");
  if (!file) { state.textContent = "Choose a file first."; return; }
  state.textContent = "scoring …";
  const answer = await fetch("page", {method: "POST", body: file});
  const text = await answer.text();
  if (answer.ok) { document.open(); document.write(text); document.close(); }
  else { state.textContent = JSON.parse(text).error; }
};
</script></body></html>"""


def create_app(predictor: Predictor, limits: UploadLimits, *, token: str = "", host: str = "127.0.0.1") -> FastAPI:
    """The application.

    Args:
        predictor: Scores what comes.
        limits: Of one upload.
        token: That every request must bring, as a bearer token or as the password of basic authentication; empty asks
            for none.
        host: That it listens on; on this machine alone, other names than this machine's are refused.
    """
    app = FastAPI(title="fistula", docs_url=None, redoc_url=None, openapi_url=None)
    desk = Desk(predictor, limits)
    if host in LOOPBACK:
        # Else a page from elsewhere could reach this service under a name that it controls.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "::1"])

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if token and not _is_known(request, token):
            return _refusal(401, "needs the token", {"WWW-Authenticate": 'Basic realm="fistula"'})
        return await go_on(request)

    @app.exception_handler(UploadError)
    async def refuse(request: Request, error: UploadError) -> Response:
        return _refusal(error.status, error.reason)

    @app.get("/")
    async def form() -> Response:
        return HTMLResponse(FORM, headers={"Content-Security-Policy": POLICY})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"runs": [run.name for run in predictor.runs], "waiting": desk.waiting}

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        return JSONResponse(await desk.take(request, desk.answer))

    @app.post("/page")
    async def page(request: Request) -> Response:
        return HTMLResponse(await desk.take(request, desk.page))

    return app


class Desk:
    """Takes uploads one after the other: the network uses every core for one.

    Args:
        predictor: Scores them.
        limits: Of one.
    """

    def __init__(self, predictor: Predictor, limits: UploadLimits) -> None:
        self.predictor, self.limits, self.waiting = predictor, limits, 0
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")

    async def take(self, request: Request, work: Callable[[Path], Any]) -> Any:
        """Receive an upload into a file of its own, and work on it in turn.

        Raises:
            UploadError: If it cannot be taken or scored.
        """
        if self.waiting >= self.limits.waiting:
            raise UploadError(503, "too many uploads are waiting")
        self.waiting += 1
        try:
            with tempfile.TemporaryDirectory(prefix="fistula-upload-") as folder:
                path = Path(folder) / "upload"
                await receive(
                    request.stream(), path, declared=request.headers.get("content-length"), limits=self.limits
                )
                check_archive(path, self.limits)
                done = asyncio.get_running_loop().run_in_executor(self.thread, work, path)
                return await asyncio.wait_for(asyncio.shield(done), self.limits.seconds)
        except TimeoutError as error:
            raise UploadError(408, f"not answered within {self.limits.seconds:g} s") from error
        except FistulaError as error:
            # Without its place, which names a file of this machine.
            found = "" if error.found is None else f", found {error.found}"
            raise UploadError(422, f"{error.rule}{found}") from error
        finally:
            self.waiting -= 1

    def answer(self, path: Path) -> dict[str, Any]:
        """Scores as plain values."""
        found = self.predictor.predict(path)
        results = [name for name in found.slices.columns if name.startswith("score") or name == "decision"]
        return {
            "patients": found.patients.to_dicts(),
            "series": found.series.drop("series_key").to_dicts(),
            "slices": found.slices.select(*SLICE_KEYS, *results).to_dicts(),
            "left_out": found.left_out.to_dicts(),
            "notes": found.summary["notes"],
            "runs": found.summary["runs"],
        }

    def page(self, path: Path) -> str:
        """The page with every slice and its overlay."""
        with reading(path, self.predictor.reader, Workers(1)) as slices:
            prediction = self.predictor.judge(slices)
            overlays = draw_overlays(self.predictor, slices, prediction, which="all")
            return render_page(slices, prediction, overlays, prediction.summary | stamp())


def _is_known(request: Request, token: str) -> bool:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    return secrets.compare_digest(value.encode(), token.encode())


def _refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    # What was not read of the upload must not be taken for the next request.
    return JSONResponse({"error": reason}, status_code=status, headers={"Connection": "close"} | (headers or {}))
