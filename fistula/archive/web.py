"""Fetch from and store to a DICOMweb archive: QIDO-RS, WADO-RS, STOW-RS."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fistula.archive.address import Address, Manners, credentials
from fistula.dicom.network import read_object, save_object
from fistula.errors import ArchiveError, ConfigError

RETRIED = (429, 502, 503, 504)


def fetch(address: Address, folder: Path, manners: Manners) -> int:
    """Write every instance of a study or series into `folder`; how many there were.

    Raises:
        ArchiveError: If the archive does not answer, refuses, has no such study, or too many instances.
    """
    client = _client(address, manners)
    level = {"study_instance_uid": address.study} | ({"series_instance_uid": address.series} if address.series else {})
    found = _asked(address, lambda: client.search_for_instances(**level, limit=manners.max_instances + 1))
    if not found:
        raise ArchiveError(_name(address), "has no such study or series")
    if len(found) > manners.max_instances:
        remedy = "Name one series, or raise archive.max_instances"
        raise ArchiveError(_name(address), f"must have at most {manners.max_instances} instances", remedy=remedy)
    retrieve: Any = client.iter_series if address.series else client.iter_study
    fetched = 0
    for dataset in _asked(address, lambda: retrieve(**level)):
        save_object(dataset, folder / f"{fetched:06d}.dcm")
        fetched += 1
    if fetched != len(found):
        raise ArchiveError(_name(address), f"must give all {len(found)} instances", found=fetched, remedy="Try again")
    return fetched


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store objects.

    Raises:
        ArchiveError: If the archive does not answer or does not take them all.
    """
    client = _client(address, manners)
    answer = _asked(address, lambda: client.store_instances([read_object(path) for path in files]))
    refused = len(getattr(answer, "FailedSOPSequence", []) or [])
    if refused:
        raise ArchiveError(_name(address), "must take every object", found=f"{refused} refused of {len(files)}")


def _client(address: Address, manners: Manners) -> Any:
    import requests
    from dicomweb_client.api import DICOMwebClient
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    # POST too: storing an object twice stores it once.
    retry = Retry(manners.retries, backoff_factor=0.2, status_forcelist=RETRIED, allowed_methods=None, redirect=0)

    class Adapter(HTTPAdapter):
        """Gives every request the time limit, which requests itself has none of."""

        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            return super().send(request, **(options | {"timeout": manners.timeout_s}))

    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc: what is sent where is said here alone
    if manners.ca_file is not None:
        session.verify = manners.ca_file
    user, password, token = credentials()
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    elif user:
        session.auth = (user, password)
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(max_retries=retry))
    encrypts = manners.encrypts(address)
    if (token or user) and not encrypts and not address.is_here:
        raise ConfigError("archive.tls", "must not be false where credentials are sent", remedy="Leave it out")
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{'https' if encrypts else 'http'}://{host}:{address.port}{address.root}"
    client = DICOMwebClient(url=url, session=session)
    client.set_http_retry_params(retry=False)  # its own, five with up to 16 s between them, would follow on ours
    return client


def _asked(address: Address, question: Callable[[], Any]) -> Any:
    import requests

    try:
        return question()
    except requests.exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        remedy = "Set FISTULA_ARCHIVE_USER and FISTULA_ARCHIVE_PASSWORD" if status in (401, 403) else ""
        raise ArchiveError(_name(address), "refuses", found=f"HTTP status {status}", remedy=remedy) from error
    except requests.exceptions.RequestException as error:
        raise ArchiveError(_name(address), f"does not answer ({type(error).__name__})") from error


def _name(address: Address) -> str:
    return f"dicomweb://{address.host}:{address.port}{address.root}"
