import socket

import pytest

from fistula.archive import dimse, web
from fistula.archive.address import Address, Manners, is_archive, parse
from fistula.errors import ArchiveError, ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicomweb://pacs:8042/dicom-web/studies/1.2", Address("dicomweb", "pacs", 8042, "/dicom-web", study="1.2")),
        (
            "dicomweb://pacs:443/studies/1.2/series/3.4",
            Address("dicomweb", "pacs", 443, study="1.2", series="3.4"),
        ),
        ("dimse://Arch1ve@pacs:104/1.2/3.4", Address("dimse", "pacs", 104, title="Arch1ve", study="1.2", series="3.4")),
    ],
)
def test_an_address_says_where_and_what(text, expected):
    assert is_archive(text)
    assert parse(text, key="source") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dicomweb://pacs/studies/1.2", "source: must be like dicomweb://HOST:PORT"),
        ("dicomweb://pacs:70000/studies/1.2", "Port out of range"),
        ("dicomweb://me:secret@pacs:80/studies/1.2", "must not hold credentials"),
        ("dicomweb://me@pacs:80/studies/1.2", "must not hold credentials"),
        ("dicomweb://me:se/secret@pacs:80/studies/1.2", "must not hold credentials"),
        ("dicomweb://pacs:80/studies/1.2?token=secret", "must not hold credentials"),
        ("dimse://PACS:secret@pacs:104/1.2", "must not hold credentials"),
        (" DICOMweb://me:secret@pacs:80/studies/1.2", "must not hold credentials"),
        ("dimse://PACS:secret/x@pacs:104/1.2", "must not hold credentials"),
        ("dicomweb://pacs:80/studies/../x", "must name studies and series by their UIDs"),
        ("dicomweb://pacs:80/root", "must name a study"),
        ("dimse://pacs:104/1.2", "must have an AE title of 1 to 16 characters"),
        ("dimse://P\xc4CS@pacs:104/1.2", "must have an AE title of 1 to 16 characters, in ASCII"),
        ("dimse://A\\B@pacs:104/1.2", "must have an AE title of 1 to 16 characters, in ASCII"),
        ("dimse://  @pacs:104/1.2", "must have an AE title of 1 to 16 characters, in ASCII"),
        ("dimse://ARCHIVE@pacs:104", "must name a study"),
    ],
)
def test_an_address_that_is_none_is_refused_and_its_password_not_shown(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text, key="source")
    assert "secret" not in str(caught.value)


def test_a_place_to_store_is_an_archive_as_a_whole():
    with pytest.raises(ConfigError, match="send: must name an archive, not a study of it"):
        parse("dimse://A@pacs:104/1.2", key="send", whole=True)
    assert parse("dimse://A@pacs:104", key="send", whole=True).title == "A"


def test_folders_are_no_archives():
    assert not is_archive("data/dicomweb")
    assert not is_archive("https://pacs/studies")


def test_everything_is_encrypted_but_on_this_machine():
    there, here = Address("dicomweb", "pacs", 80), Address("dicomweb", "127.0.0.1", 80)
    assert [Manners().encrypts(address) for address in (there, here)] == [True, False]
    assert Manners(tls=True).encrypts(here)


def test_credentials_are_not_sent_in_the_clear(monkeypatch, tmp_path):
    monkeypatch.setenv("FISTULA_ARCHIVE_TOKEN", "secret")
    address = Address("dicomweb", "pacs", 80, study="1.2")
    with pytest.raises(ConfigError, match="tls: must not be false if credentials are sent") as caught:
        web.fetch(address, tmp_path, Manners(tls=False))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("module", [web, dimse], ids=["dicomweb", "dimse"])
def test_an_archive_that_is_not_there_is_one_error_after_the_retries(module, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = Address(module.__name__.rpartition(".")[2], "127.0.0.1", port, title="A", study="1.2")
    with pytest.raises(ArchiveError, match=rf"127\.0\.0\.1:{port}: does not respond"):
        module.fetch(address, tmp_path, Manners(timeout_s=1, retries=1))


@pytest.mark.parametrize("module", [web, dimse], ids=["dicomweb", "dimse"])
def test_a_host_that_no_server_knows_is_one_error(module, tmp_path):
    address = Address(module.__name__.rpartition(".")[2], "pacs.invalid", 104, title="A", study="1.2")
    with pytest.raises(ArchiveError, match=r"pacs\.invalid:104: does not respond"):
        module.fetch(address, tmp_path, Manners(tls=False, timeout_s=1, retries=0))


def test_manners_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"archive\.retries: must be at least 0 and at most 1000, found -1"):
        Manners(retries=-1)


def test_authorities_that_are_no_certificates_are_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=rf"archive\.ca_file: must be a PEM file of certificates, found .*{file}"):
            Manners(ca_file=str(tmp_path / file))
