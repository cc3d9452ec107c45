"""Keyed pseudonyms: the same person has the same name in every cohort made with one key, and no way leads back."""

import hmac
import os
import secrets
import stat
from pathlib import Path

from fistula.errors import ConfigError, as_typed
from fistula.folder import name_once

ENVIRONMENT = "FISTULA_PSEUDONYM_KEY_FILE"
KNOWN = 1024
LENGTH = 24  # hexadecimal digits, 96 bits: no two of a billion slices collide


class Pseudonyms:
    """Name patients, studies, series and instances by HMAC-SHA-256 (RFC 2104).

    Args:
        key: Secret bytes; whoever has them can test whether a known identifier is in a cohort.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[tuple[str, str], str] = {}  # most of a file's names are those of the file before

    def __call__(self, kind: str, identifier: str) -> str:
        """The pseudonym of `identifier`, 24 hexadecimal digits; the same text under two kinds has two names."""
        if (known := self._known.get((kind, identifier))) is not None:
            return known
        # File names that are not UTF-8 reach Python as lone surrogates.
        content = f"{kind}\0{identifier}".encode(errors="surrogatepass")
        if len(self._known) >= KNOWN:
            self._known.clear()
        name = self._known[kind, identifier] = hmac.digest(self._key, content, "sha256").hex()[:LENGTH]
        return name

    def __reduce__(self) -> tuple:
        return Pseudonyms, (self._key,)

    @property
    def key_name(self) -> str:
        """Eight digits that tell two keys apart and say nothing about either."""
        return self("key", "")[:8]

    def day(self, patient: str, ordinal: int) -> int:
        """A date as days on the patient's own secret calendar: differences stay, the date does not."""
        return self.hidden("calendar", patient, ordinal)

    def hidden(self, scale: str, patient: str, value: int) -> int:
        """A number on a secret scale of the patient's own: differences on it stay, the number does not."""
        return value - int(self(scale, patient)[:8], 16)


def key_file() -> Path:
    """Where the key lies: `FISTULA_PSEUDONYM_KEY_FILE`, or the user's configuration folder."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "fistula" / "pseudonym.key"


def read_pseudonyms(*, create: bool) -> Pseudonyms:
    """Read the key; make one, readable by the user alone, where there is none.

    Args:
        create: False leaves the disk alone and uses a key that is forgotten with the process.

    Raises:
        ConfigError: If the file is empty, too short, open to other users, or cannot be read or made.
    """
    path = key_file()
    try:
        if not path.exists() and not create:
            return Pseudonyms(secrets.token_bytes(32))
        if not path.exists():
            _make(path)
        key, mode = path.read_bytes().strip(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        remedy = f"Name another file in {ENVIRONMENT}"
        raise ConfigError(
            path, f"the pseudonym key cannot be read or made ({error.strerror})", remedy=remedy
        ) from error
    if len(key) < 16:
        remedy = "Remove it to have a new one made (old cohorts then keep their old pseudonyms)"
        raise ConfigError(path, "the pseudonym key must have at least 16 bytes", found=len(key), remedy=remedy)
    if os.name == "posix" and mode & 0o077:
        found = f"mode {mode:03o}"
        remedy = f"chmod 600 {as_typed(str(path))}, or name another file in {ENVIRONMENT}"
        raise ConfigError(path, "the pseudonym key must be readable only by its owner", found=found, remedy=remedy)
    return Pseudonyms(key)


def _make(path: Path) -> None:
    """Write a new key whole; if another process is first, its key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())  # what is lost with it, no one gets back
        name_once(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink(missing_ok=True)
