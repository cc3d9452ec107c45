"""Where an archive is, and what of it is meant; and how to talk to it."""

import os
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fistula.errors import ArchiveError, ConfigError, refuse_outside

SCHEMES = ("dicomweb", "dimse")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TITLE = re.compile(r"(?=.*\S)[ -\[\]-~]{1,16}")  # DICOM PS3.5 6.2, AE
# User, password, or a token in a query.
SECRET = re.compile(r"\s*(dicomweb://.*[@?#]|dimse://[^@]*:[^@]*@)", re.DOTALL | re.IGNORECASE)
UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Address:
    """An archive, or a study or series of it."""

    scheme: str  # `dicomweb` or `dimse`
    host: str
    port: int
    root: str = ""  # path of the DICOMweb service; empty for dimse
    title: str = ""  # application entity title; empty for dicomweb
    study: str = ""  # UID; empty where the archive as a whole is meant
    series: str = ""  # UID; empty where all series are

    @property
    def name(self) -> str:
        """For messages, which must not name the study."""
        title = f"{self.title}@" * bool(self.title)
        return f"{self.scheme}://{title}{self.host}:{self.port}{self.root}"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.host in LOOPBACK

    def holds(self, dataset: Any) -> bool:
        """Whether an object is of the study or series that is meant."""
        study, series = (str(dataset.get(f"{level}InstanceUID")) for level in ("Study", "Series"))
        return study == self.study and self.series in ("", series)


@dataclass(frozen=True)
class Manners:
    """How to talk to an archive."""

    tls: bool | None = None  # whether to encrypt; None: everywhere but on this machine
    # PEM file of the authorities that an archive's certificate must come from; None: those that are usual.
    ca_file: str | None = None
    timeout_s: float = 30.0  # without an answer
    total_s: float = 3600.0  # for one study or series, in all: an archive may answer byte by byte
    retries: int = 2  # after a failed connection
    max_instances: int = 5000  # of one study or series that may be fetched

    def __post_init__(self) -> None:
        for name in ("timeout_s", "total_s"):
            refuse_outside(f"archive.{name}", getattr(self, name), 0.1, 86400)
        for name, low, high in (("retries", 0, 1000), ("max_instances", 1, 10**7)):
            refuse_outside(f"archive.{name}", getattr(self, name), low, high)
        if self.ca_file is not None:
            try:
                ssl.create_default_context(cafile=self.ca_file)
            except OSError as error:  # ssl.SSLError is one
                rule = "must be a PEM file of certificates"
                raise ConfigError("archive.ca_file", rule, found=self.ca_file) from error

    def encrypts(self, address: Address) -> bool:
        return not address.is_here if self.tls is None else self.tls


SELF_SIGNED, OUT_OF_DATE, OTHER_NAME = 18, (9, 10), (62, 64)  # OpenSSL's X509_V_ERR


def unconnected(address: Address, manners: Manners) -> tuple[str, str]:
    """Why there is no connection, and the remedy: libraries do not say; tried once more as a bare one."""
    try:
        bare = socket.create_connection((address.host, address.port), manners.timeout_s)
    except OSError as error:
        return error.strerror or type(error).__name__, ""
    with bare:
        if not manners.encrypts(address):
            return "no association without TLS", "If it speaks TLS, set archive.tls=true"
        try:
            ssl.create_default_context(cafile=manners.ca_file).wrap_socket(bare, server_hostname=address.host).close()
        except ssl.SSLCertVerificationError as error:
            return f"its certificate: {error.verify_message}", _certificate_remedy(error.verify_code)
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or type(error).__name__
            return f"no TLS: {why}", "If it speaks none, set archive.tls=false"
    return "no association", ""


def _certificate_remedy(code: int) -> str:
    """What to do about a certificate that is not trusted, by OpenSSL's X509_V_ERR number."""
    if code == SELF_SIGNED:
        return "Give that certificate itself in archive.ca_file, if the archive's administrator confirms it"
    if code in OTHER_NAME:
        return "Address the archive by the name or the IP address in its certificate (subjectAltName)"
    if code in OUT_OF_DATE:
        return "The archive's administrator has to renew it, unless the date of this machine is wrong"
    return "Name the authority that issued it in archive.ca_file"


def require_few(where: str, number: int, manners: Manners) -> None:
    """Raise ArchiveError if there are more instances than may be fetched."""
    if number > manners.max_instances:
        remedy = "Name one series, or raise archive.max_instances"
        raise ArchiveError(where, f"must have at most {manners.max_instances} instances", found=number, remedy=remedy)


def require_own(where: str, strange: int) -> None:
    """Raise ArchiveError if an archive sends objects of another study or series, which may be another patient's."""
    if strange:
        rule, remedy = "must send only what was asked for", "Export the study to a folder"
        raise ArchiveError(where, rule, found=f"{strange} of another study or series", remedy=remedy)


def is_archive(text: str) -> bool:
    """Whether a source names an archive, not a file."""
    return text.partition("://")[0] in SCHEMES and "://" in text


def parse(text: str, *, key: str, whole: bool = False) -> Address:
    """Read ``dicomweb://HOST:PORT/ROOT[/studies/UID[/series/UID]]`` or ``dimse://AET@HOST:PORT[/STUDY[/SERIES]]``.

    Where the archive as a `whole` is meant, naming a study is a mistake, else naming none.

    Raises:
        ConfigError: If it is none, has a password in it, or names a study where it must not, or none where it must.
    """
    forms = "dicomweb://HOST:PORT/ROOT/studies/UID[/series/UID] or dimse://AET@HOST:PORT/STUDY_UID[/SERIES_UID]"
    if SECRET.match(text):
        remedy = "Give them in FISTULA_ARCHIVE_USER and FISTULA_ARCHIVE_PASSWORD, or FISTULA_ARCHIVE_TOKEN"
        raise ConfigError(key, "must not hold credentials, or a query: they would be logged", remedy=remedy)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(key, f"must be like {forms} ({error})") from error
    if parts.scheme not in SCHEMES or not host or port is None:
        raise ConfigError(key, f"must be like {forms}", found=text)
    if parts.scheme == "dicomweb":
        root, _, rest = parts.path.partition("/studies/")
        study, _, series = rest.partition("/series/")
        found = Address("dicomweb", host, port, root=root.rstrip("/"), study=study.strip("/"), series=series.strip("/"))
    else:
        study, _, series = parts.path.strip("/").partition("/")
        # urlsplit leaves the user's case alone, which an AE title needs.
        found = Address("dimse", host, port, title=parts.username or "", study=study, series=series)
        if not TITLE.fullmatch(found.title):
            rule = "must have an AE title of 1 to 16 characters, in ASCII and without a backslash, before the @"
            raise ConfigError(key, rule, found=text)
    if any(uid and not (UID.fullmatch(uid) and len(uid) <= 64) for uid in (found.study, found.series)):
        raise ConfigError(key, "must name studies and series by their UIDs", found=text)
    if whole and found.study:
        raise ConfigError(key, "must name an archive, not a study of it", found=text)
    if not whole and not found.study:
        raise ConfigError(key, f"must name a study, like {forms}", found=text)
    return found


def credentials() -> tuple[str, str, str]:
    """User, password and token from the environment, each empty where it is not set."""
    user, password, token = (os.environ.get(f"FISTULA_ARCHIVE_{name}", "") for name in ("USER", "PASSWORD", "TOKEN"))
    return user, password, token
