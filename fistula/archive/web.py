"""Fetch from and store to a DICOMweb archive: QIDO-RS, WADO-RS, STOW-RS."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from fistula.archive.address import Address, Manners, credentials, require_few, require_own, unconnected
from fistula.dicom.out.network import read_object, save_content, whose_object
from fistula.dicom.parse import text
from fistula.errors import ArchiveError, ConfigError, FistulaError

RETRIED = (429, 502, 503, 504)
# Of what a request accepts; older archives say that it was a bad one.
UNACCEPTED = tuple(f"HTTP status {status}" for status in (400, 406, 415, 501))
# As it is kept; else as the service likes; else uncompressed (PS3.18 8.7.3.5.2).
ACCEPTED = ("; transfer-syntax=*", "", "; transfer-syntax=1.2.840.10008.1.2.1")


def fetch(address: Address, folder: Path, manners: Manners) -> int:
    """Write every instance of a study or series into `folder`, byte by byte as it came; how many there were.

    A damaged one is written as well: whoever reads the folder says of it what of any damaged file.

    Raises:
        ArchiveError: If the archive does not answer, refuses, has no such study, or too many instances.
    """
    client = _client(address, manners)
    level = {"study_instance_uid": address.study} | ({"series_instance_uid": address.series} if address.series else {})
    listed = _listed(client, address, level, manners)
    if not listed:
        raise ArchiveError(address.name, "has no such study or series")
    require_few(address.name, len(listed), manners)
    came: set[str] = set()
    damaged: list[Path] = []
    place = f"/series/{address.series}" if address.series else ""

    def take(accepted: str) -> None:
        for content in _parts(client, f"{client.base_url}/studies/{address.study}{place}", accepted):
            require_few(address.name, len(came) + len(damaged) + 1, manners)
            path = folder / f"{len(came) + len(damaged):06d}.dcm"
            whose = whose_object(content)
            require_own(address.name, int(whose is not None and not address.holds(whose)))
            save_content(content, path)
            if whose is None:
                damaged.append(path)
            else:
                came.add(text(whose, "SOPInstanceUID"))

    for accepted in ACCEPTED:
        try:
            _asked(address, manners, partial(take, accepted))
            break
        except ArchiveError as error:
            if error.found not in UNACCEPTED or accepted == ACCEPTED[-1]:
                raise
    if not came:
        raise ArchiveError(address.name, "sends unreadable data", found=f"{len(damaged)} damaged objects")
    number = _number(client, address)
    if (missing := max(len(listed - came), number - len(came)) - len(damaged)) > 0:
        found = f"{len(came)} of {len(came) + missing}"
        raise ArchiveError(address.name, "must send all that it lists", found=found, remedy="Try again")
    return len(came)


def _parts(client: Any, url: str, accepted: str) -> Iterator[bytes]:
    """The parts of an answer; the client's own way ends at the first that is damaged, and writes all anew."""
    headers = {"Accept": f'multipart/related; type="application/dicom"{accepted}'}
    with client._session.get(url, headers=headers, stream=True) as response:
        response.raise_for_status()
        yield from map(bytes, client._decode_multipart_message(response, stream=True))


def _listed(client: Any, address: Address, level: dict[str, str], manners: Manners) -> set[str]:
    """UIDs of the instances that an archive lists, page by page, for as long as a page brings new ones."""
    listed: set[str] = set()
    while len(listed) <= manners.max_instances:
        page = {"limit": manners.max_instances + 1 - len(listed), "offset": len(listed)}
        new = _asked(address, manners, partial(_instances, client, **level, **page)) - listed
        if not new:
            break
        listed |= new
    return listed


def _instances(client: Any, **asked: Any) -> set[str]:
    found = client.search_for_instances(**asked)
    values = [value for one in found for value in (one.get("00080018") or {}).get("Value") or []]
    return {str(value).strip("\0 ") for value in values if value is not None}


def _number(client: Any, address: Address) -> int:
    """How many instances the archive says that a whole study has; 0 where it does not say."""
    if address.series:
        return 0
    wanted = {"search_filters": {"StudyInstanceUID": address.study}, "fields": ["00201208"]}
    try:
        found = client.search_for_studies(**wanted)
        return max((int(one["00201208"]["Value"][0]) for one in found), default=0)
    except Exception:  # an answer in whatever form: the count is a second opinion that not every archive gives
        return 0


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store objects. Raises ArchiveError if the archive does not answer or does not take them all."""
    # In one piece, whose length is said: some take what comes in chunks for nothing and answer 200, and chunks that are
    # sent a second time are empty.
    client = _client(address, manners, chunk_size=sys.maxsize)
    objects = [read_object(path) for path in files]
    answer = _asked(address, manners, lambda: client.store_instances(objects))
    stored = {item.get("ReferencedSOPInstanceUID") for item in getattr(answer, "ReferencedSOPSequence", None) or []}
    refused = len(getattr(answer, "FailedSOPSequence", None) or [])
    if unconfirmed := sum(one.SOPInstanceUID not in stored for one in objects):
        found = f"{unconfirmed} of {len(files)} not confirmed" + f", {refused} refused" * bool(refused)
        remedy = "Look for them there; sent again, they are stored once" if refused < unconfirmed else ""
        raise ArchiveError(address.name, "must confirm every object", found=found, remedy=remedy)


def _client(address: Address, manners: Manners, **settings: Any) -> Any:
    import requests
    from dicomweb_client.api import DICOMwebClient
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Patience(Retry):
        """Waits as long as an archive asks for, unless that is longer than it may take to answer: say, tomorrow."""

        def get_retry_after(self, response: Any) -> float | None:
            asked = super().get_retry_after(response)
            return asked if asked and asked <= manners.timeout_s else None

    # POST too: storing an object twice stores it once.
    retry = Patience(manners.retries, status_forcelist=RETRIED, allowed_methods=None, redirect=0, backoff_factor=0.2)

    class Adapter(HTTPAdapter):
        """Gives every request the time limit, which requests itself has none of."""

        def send(self, request: Any, *args: Any, **settings: Any) -> Any:
            return super().send(request, *args, **settings | {"timeout": manners.timeout_s})

    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc: what is sent where is said here alone
    if manners.ca_file is not None:
        session.verify = manners.ca_file
    user, password, token = credentials()
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    elif user:
        session.auth = (user, password)
    session.hooks["response"] += [_as_known, partial(_refuse_another, address.name)]
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(max_retries=retry))
    encrypts = manners.encrypts(address)
    if (token or user) and not encrypts and not address.is_here:
        raise ConfigError("archive.tls", "must not be false if credentials are sent", remedy="Leave it out")
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{'https' if encrypts else 'http'}://{host}:{address.port}{address.root}"
    client = DICOMwebClient(url=url, session=session, **settings)
    client.set_http_retry_params(retry=False)  # its own, five with up to 16 s between them, would follow on ours
    return client


def _as_known(response: Any, **_: Any) -> None:
    """Call an answer what the client knows: an object that comes bare, parts; a list, by its type without a charset."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/dicom":
        response.headers["Content-Type"] = "multipart/related"
    elif kind.endswith(("json", "xml")):
        response.headers["Content-Type"] = kind


def _refuse_another(name: str, response: Any, **_: Any) -> None:
    """Refuse to be sent on: the study asked for would be named to whoever that is, and perhaps in the clear."""
    if response.is_redirect:
        place = urlsplit(urljoin(response.url, response.headers["Location"]))
        remedy = "Give that address if it is the archive's"
        found = f"{place.scheme}://{place.netloc.rpartition('@')[2]}"  # without credentials
        raise ArchiveError(name, "sends on to another address", found=found, remedy=remedy)


def _asked(address: Address, manners: Manners, question: Callable[[], Any]) -> Any:
    import requests

    try:
        return question()
    except requests.exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        remedy = "Set FISTULA_ARCHIVE_USER and FISTULA_ARCHIVE_PASSWORD" if status in (401, 403) else ""
        raise ArchiveError(address.name, "refuses", found=f"HTTP status {status}", remedy=remedy) from error
    except requests.exceptions.RequestException as error:
        rule = "sends unreadable data" if isinstance(error, ValueError) else "does not respond"
        is_tls = isinstance(error, requests.exceptions.SSLError)
        why, remedy = unconnected(address, manners) if is_tls else (type(error).__name__, "")
        raise ArchiveError(address.name, f"{rule} ({why})", remedy=remedy) from error
    except FistulaError:
        raise
    except Exception as error:  # whatever the libraries make of an answer in another form
        raise ArchiveError(address.name, f"sends unreadable data ({type(error).__name__})") from error
