import hashlib
import hmac
import stat

import pytest

from fistula.dicom.identity import Pseudonyms, key_file, read_pseudonyms
from fistula.errors import ConfigError


def test_a_pseudonym_is_the_hmac_of_kind_and_identifier():
    expected = hmac.new(b"k" * 16, b"patient\0" + b"02", hashlib.sha256).hexdigest()[:24]
    assert Pseudonyms(b"k" * 16)("patient", "02") == expected


def test_patient_numbers_are_text_and_zeros_count():
    pseudonyms = Pseudonyms(b"k" * 16)
    assert len({pseudonyms("patient", name) for name in ("2", "02", "002", "2 ")}) == 4


def test_the_key_is_made_once_and_for_its_owner_alone(pseudonym_key, tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "deep" / "key"))
    first, second = read_pseudonyms(create=True), read_pseudonyms(create=True)
    assert first("a", "b") == second("a", "b")
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600


def test_without_the_variable_the_key_lies_in_the_configuration_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("FISTULA_PSEUDONYM_KEY_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_file() == tmp_path / "fistula" / "pseudonym.key"


def test_looking_makes_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    read_pseudonyms(create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_short_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / "key").write_text("secret")
    with pytest.raises(ConfigError, match="at least 16 bytes, found 6"):
        read_pseudonyms(create=True)


def test_days_keep_their_differences_and_not_their_dates():
    pseudonyms = Pseudonyms(b"k" * 16)
    assert pseudonyms.day("p", 737425) - pseudonyms.day("p", 737415) == 10
    assert pseudonyms.day("p", 737425) != pseudonyms.day("q", 737425)


def test_a_key_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be read or made \(Is a directory\). Name another file in FISTULA"):
        read_pseudonyms(create=True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o777])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    read_pseudonyms(create=True)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match=rf"only by its owner, found mode {mode:o}. chmod 600 "):
        read_pseudonyms(create=True)
