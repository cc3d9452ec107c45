import asyncio
import threading
from dataclasses import replace

import pytest
from fastapi import Request

import fistula
from fistula.serve.desk import LEFT_BEHIND, Desk
from fistula.serve.uploads import UploadError, UploadLimits

LIMITS = UploadLimits(max_upload_mb=4, seconds=0.5)


def request_of(*blocks, pause=0.0):
    """A request whose body comes in blocks, with a pause before each."""
    waiting = list(blocks)

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


@pytest.fixture
def released():
    """An event that ends whatever still waits for it when the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def status_of(desk, work, *blocks, pause=0.0):
    try:
        return await desk.take(request_of(*blocks, pause=pause), work)
    except UploadError as error:
        return error.status


def test_an_upload_that_hangs_ends_and_the_next_ones_are_answered(study, one_patient, released):
    desk = Desk(lambda: fistula.load(study), LIMITS)
    content = next(one_patient.glob("*.dcm")).read_bytes()
    desk.limits = replace(LIMITS, seconds=60)
    before = asyncio.run(desk.take(request_of(content), desk.answer))
    desk.limits = LIMITS

    async def hang_then_answer():
        hung = await status_of(desk, lambda path: released.wait(), content)
        desk.limits = replace(LIMITS, seconds=60)
        return hung, await desk.take(request_of(content), desk.answer)

    hung, answer = asyncio.run(hang_then_answer())
    assert hung == 408
    assert answer == before
    assert desk.waiting == 0


def test_who_waits_behind_an_upload_that_hangs_is_answered_in_time(released):
    desk = Desk(lambda: None, LIMITS)

    async def both():
        hung = asyncio.create_task(status_of(desk, lambda path: released.wait(), b"x"))
        await asyncio.sleep(0.3)
        return await asyncio.gather(hung, status_of(desk, lambda path: path.read_bytes(), b"y"))

    assert asyncio.run(both()) == [408, b"y"]


def test_nobody_is_taken_while_too_many_uploads_hang(released):
    desk = Desk(lambda: None, replace(LIMITS, seconds=0.05))

    async def many():
        hung = [await status_of(desk, lambda path: released.wait(), b"x") for _ in range(LEFT_BEHIND + 1)]
        released.set()
        while any(thread.is_alive() for thread in desk._left_behind):
            await asyncio.sleep(0.01)
        desk.limits = LIMITS
        return hung, await status_of(desk, lambda path: path.read_bytes(), b"y")

    assert asyncio.run(many()) == ([408] * LEFT_BEHIND + [503], b"y")


def test_a_picture_or_volume_has_the_ending_that_its_kind_is_known_by():
    desk = Desk(lambda: None, replace(LIMITS, seconds=60))
    contents = (b"\x89PNG\r\n", b"NRRD0004", b"\0" * 128 + b"DICM")
    endings = [asyncio.run(desk.take(request_of(content), lambda path: path.suffix)) for content in contents]
    assert endings == [".png", ".nrrd", ""]


def test_a_body_that_trickles_in_is_not_waited_for_and_holds_no_place():
    desk = Desk(lambda: None, LIMITS)
    assert asyncio.run(status_of(desk, len, *[b"x"] * 100, pause=0.1)) == 408
    assert desk.waiting == 0


def test_an_upload_that_breaks_off_is_no_failure_of_the_server():
    async def receive():
        return {"type": "http.disconnect"}

    desk, request = Desk(lambda: None, LIMITS), Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(UploadError, match="the upload was interrupted"):
        asyncio.run(desk.take(request, len))
    assert desk.waiting == 0
