"""The web service: an upload in, scores as JSON or as a page out."""

import base64
import binascii
import secrets
from collections.abc import Callable

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fistula.predict.out.model_card import model_card
from fistula.predict.predictor import Predictor
from fistula.serve.desk import Desk
from fistula.serve.uploads import UploadError, UploadLimits
from fistula.viewer.page import template

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CHALLENGE = {"WWW-Authenticate": 'Basic realm="fistula"'}
# With every answer: it is of a patient, so nobody on the way keeps it, and what it shows may load nothing.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def create_app(
    load: Callable[[], Predictor], limits: UploadLimits, *, token: str = "", host: str = "127.0.0.1"
) -> FastAPI:
    """The application.

    Args:
        load: Gives what scores the uploads.
        limits: Of one upload.
        token: That every request must bring, as a bearer token or as the password of basic authentication; empty asks
            for none.
        host: That it listens on; on this machine alone, other names than this machine's are refused.
    """

    # A dependency of every route: as a middleware it would cost each answer a millisecond.
    async def guard(request: Request) -> None:
        if token and not _is_known(request, token):
            raise UploadError(401, "needs the token")

    app = FastAPI(
        title="fistula", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        dependencies=[Depends(guard)],
    )  # fmt: skip
    desk = Desk(load, limits)
    page = _form(desk.predictor, limits)
    if host in LOOPBACK:
        # Else a page from elsewhere could reach this service under a name that it controls.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "::1"])

    @app.exception_handler(UploadError)
    async def refuse(request: Request, error: UploadError) -> Response:
        # What was not read of the upload must not be taken for the next request.
        headers = HEADERS | {"Connection": "close"} | (CHALLENGE if error.status == 401 else {})
        return JSONResponse({"error": error.reason}, status_code=error.status, headers=headers)

    @app.exception_handler(HTTPException)
    async def refuse_address(request: Request, error: HTTPException) -> Response:
        headers = HEADERS | dict(error.headers or {})
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=headers)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the service failed; see its log"}, status_code=500, headers=HEADERS)

    @app.api_route("/", methods=["GET", "HEAD"])
    async def form() -> Response:
        return HTMLResponse(page, headers=HEADERS)

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        found = {"runs": [run.name for run in desk.predictor.runs], "waiting": desk.waiting}
        return JSONResponse(found, headers=HEADERS)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        return JSONResponse(await desk.take(request, desk.answer), headers=HEADERS)

    @app.post("/page")
    async def predict_page(request: Request) -> Response:
        return HTMLResponse(await desk.take(request, desk.page), headers=HEADERS)

    return app


def _form(predictor: Predictor, limits: UploadLimits) -> str:
    """The page that uploads begin on: where to drop images, and the card of what answers."""
    # Markdown without HTML of its own: what a run recorded is text.
    card = MarkdownIt("commonmark", {"html": False}).enable("table").render(model_card(predictor.runs))
    return template("serve", "form.html").render(
        runs=predictor.runs,
        classes=predictor.classes,
        finds_places=bool(predictor.runs[0].classifier.head.kinds),
        limits={"files": limits.max_files, "mb": limits.max_upload_mb},
        card=Markup(card),  # noqa: S704 (escaped by the renderer)
    )


def _is_known(request: Request, token: str) -> bool:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    return secrets.compare_digest(value.encode(), token.encode())
