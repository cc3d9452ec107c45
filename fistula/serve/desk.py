"""Uploads are worked on one after the other; one that takes too long is left behind, and the next ones go on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from fistula.errors import FistulaError
from fistula.folder import temporary_folder
from fistula.predict.out.page import render_page
from fistula.predict.out.write import SLICE_COLUMNS, draw_overlays, stamp
from fistula.predict.places import SCHEMA as PLACES
from fistula.predict.predictor import Predictor
from fistula.predict.source import reading
from fistula.serve.uploads import UploadError, UploadLimits, check_archive, receive
from fistula.source.files.formats import ending_of
from fistula.source.workers import Workers

LEFT_BEHIND = 4  # threads that may still be at an upload that took too long


class Desk:
    """Takes uploads one after the other: the network uses every core for one.

    Args:
        load: Gives what scores them. It is called on the thread that will score: each thread that computes has others
            of its own to help it, and those of two would wait for one another's cores.
    """

    def __init__(self, load: Callable[[], Predictor], limits: UploadLimits) -> None:
        self.limits, self.waiting = limits, 0
        self._jobs: SimpleQueue[tuple[Future, Callable[[], Any]]] = SimpleQueue()
        self._left_behind: list[Thread] = []
        self._start()
        loaded: Future[Predictor] = Future()
        self._jobs.put((loaded, load))
        self.predictor = loaded.result()

    async def take(self, request: Request, work: Callable[[Path], Any]) -> Any:
        """Receive an upload into a file of its own, and work on it in turn.

        Raises:
            UploadError: If it cannot be taken or scored.
        """
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise UploadError(415, "an upload is the file itself, not a form (curl --data-binary @FILE)")
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if self.waiting >= self.limits.waiting or len(self._left_behind) >= LEFT_BEHIND:
            raise UploadError(503, "too many uploads are waiting")
        self.waiting += 1
        done: Future = Future()
        try:
            async with asyncio.timeout(self.limits.seconds):
                with temporary_folder("upload") as folder:
                    path = folder / "upload"
                    await receive(
                        request.stream(), path, declared=request.headers.get("content-length"), limits=self.limits
                    )
                    check_archive(path, self.limits)
                    path = path.rename(path.with_suffix(ending_of(path)))
                    self._jobs.put((done, partial(work, path)))
                    return await asyncio.wrap_future(done)
        except TimeoutError as error:
            if done.running():
                self._left_behind.append(self._thread)
                self._start()
            raise UploadError(408, f"not answered within {self.limits.seconds:g} s") from error
        except ClientDisconnect as error:  # nobody reads this; the log shall not say that the server failed
            raise UploadError(400, "the upload was interrupted") from error
        except FistulaError as error:
            # Without its place, which names a file of this machine.
            found = "" if error.found is None else f", found {error.found}"
            is_full = error.where.startswith("TMPDIR")
            raise UploadError(507 if is_full else 422, f"{error.rule}{found}") from error
        finally:
            self.waiting -= 1

    def answer(self, path: Path) -> dict[str, Any]:
        """Scores as plain values."""
        found = self.predictor.predict(path)
        results = [name for name in found.slices.columns if name.startswith("score") or name in ("decision", "weight")]
        return {
            "patients": found.patients.to_dicts(),
            "series": found.series.drop("series_key").to_dicts(),
            "slices": found.slices.select(*SLICE_COLUMNS, *results).to_dicts(),
            **({} if found.places is None else {"places": found.places.select(*PLACES).to_dicts()}),
            "left_out": found.left_out.to_dicts(),
            "notes": found.summary["notes"],
            "runs": found.summary["runs"],
        }

    def page(self, path: Path) -> str:
        """The page with every slice and its overlay."""
        with reading(path, self.predictor.reader, Workers(1)) as slices:
            prediction = self.predictor.judge(slices)
            overlays, failed = draw_overlays(self.predictor, slices, prediction, which="places")
            return render_page(slices, prediction, overlays, prediction.summary | stamp() | {"failed": failed})

    def _start(self) -> None:
        # No executor: those wait at the end of the process, for ever if a decoder hangs.
        self._thread = Thread(target=self._work, name="score", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        """Do jobs until left behind; always the same thread, see `load`."""
        while current_thread() is self._thread:
            done, work = self._jobs.get()
            if not done.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            try:
                done.set_result(work())
            except BaseException as error:  # it belongs to whoever waits
                done.set_exception(error)
