"""`fistula serve`: score what is uploaded."""

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig

from fistula.errors import ConfigError, refuse_outside

TOKEN = "FISTULA_SERVE_TOKEN"  # noqa: S105 (the name of a variable)
SHORTEST = 16
CONNECTIONS = 256  # at once; more are sent away, or slow senders could use up every file that a process may open
SILENT_S = 10.0  # after which a connection without a request is closed


def run(cfg: DictConfig) -> None:
    """Load the run, then serve until interrupted."""
    token = os.environ.get(TOKEN, "")
    refuse_outside("port", cfg.port, 0, 65535)
    if token and len(token) < SHORTEST:
        raise ConfigError(TOKEN, f"must have at least {SHORTEST} characters", found=len(token))
    # Tables of a few rows: threads cost more than they save.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    # Here, after that variable is set, and what is wrong has been told.
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from fistula.predict.predictor import Predictor, load
    from fistula.predict.runs.known import refuse_unstated
    from fistula.predict.source import Limits
    from fistula.serve.app import LOOPBACK, create_app
    from fistula.serve.uploads import UploadLimits

    if cfg.host not in LOOPBACK and not token:
        rule = f"must be this machine unless {TOKEN} is set"
        remedy = f"Set it to {SHORTEST} characters or more, or leave out host"
        raise ConfigError("host", rule, found=cfg.host, remedy=remedy)
    listener = _listen(cfg.host, cfg.port)
    limits = UploadLimits(cfg.max_upload_mb, cfg.max_files, cfg.seconds, cfg.waiting)

    def ready() -> Predictor:
        limits = Limits(8 * cfg.max_upload_mb, cfg.seconds)
        predictor = load(cfg.run, only=cfg.only, error=cfg.error, limits=limits, device=cfg.device)
        refuse_unstated(
            predictor.runs[0], remedy="An upload brings no table: score it with fistula predict covariates_table=FILE"
        )
        predictor.prepare()
        return predictor

    class Impatient(H11Protocol):
        """Closes a connection that asks for nothing, or that sends what it asks for byte by byte."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(SILENT_S, lambda: transport.close() if self.cycle is None else None)

    # Whatever manages services ends them so: no failure, and temporary folders of libraries are removed on the way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = create_app(ready, limits, token=token, host=cfg.host)
    host = f"[{cfg.host}]" if ":" in cfg.host else cfg.host
    print(f"serving {cfg.run} on http://{host}:{listener.getsockname()[1]} (end with Ctrl+C)", flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_keep_alive=5, limit_concurrency=CONNECTIONS, http=Impatient
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded; 0 takes one that is free.

    Raises:
        ConfigError: If another program has it, or the host is not one of this machine's names.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        rule = f"cannot be listened on ({str(error.strerror).partition(' (while')[0]})"
        raise ConfigError(f"host={host} port={port}", rule, remedy="Name another port, such as port=8081") from error
    # asyncio sends at once where a socket says that it is of TCP; else an answer's last part waits 40 ms for the first.
    return socket.socket(listener.family, listener.type, socket.IPPROTO_TCP, listener.detach())
