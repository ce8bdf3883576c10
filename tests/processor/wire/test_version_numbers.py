"""What a version's number is, the same everywhere: in folders, paths, requests, manifests and on command lines."""

import argparse
from pathlib import Path

import pytest

from corelane.commands.common import version_argument
from corelane.commands.profile import version_folder
from corelane.commands.traffic import share_argument
from corelane.processor.errors import InvalidRequest, ManifestError
from corelane.processor.gateway.protocols.kserve import target_of
from corelane.processor.manifest import parse_manifest
from corelane.processor.manifest.paths import numbered_folders
from corelane.processor.wire.version_numbers import VERSION_MAX, parse_version, version_number
from tests.support.client import PlainClient as Client

NUMBERS = {"0": 0, "7": 7, "007": 7, str(VERSION_MAX): 2**63 - 1, "000" + str(VERSION_MAX): 2**63 - 1}
TOO_LARGE = [str(VERSION_MAX + 1), "9" * 19, "9" * 5000]
NO_NUMBERS = ["", "x", "-1", "+1", " 1", "1 ", "1_0", "1.0", "0x1", "1e3", "٣", "²", "４"]


def test_numbers() -> None:
    for text, number in NUMBERS.items():
        assert version_number(text) == parse_version(text) == version_argument(text) == number
        assert target_of("m", text) == ("m", number, None)


@pytest.mark.parametrize("text", [*TOO_LARGE, *NO_NUMBERS])
def test_what_is_no_version(text: str) -> None:
    assert version_number(text) is None
    with pytest.raises(InvalidRequest, match=f"is no version: versions are whole numbers from 0 to {VERSION_MAX}$"):
        parse_version(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is no version"):
        version_argument(text)
    with pytest.raises(argparse.ArgumentTypeError, match="should be a version and its percentage"):
        share_argument(f"{text}=100")


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e1", "1_0", "-5", "+5", " 5", "٣", "1000", "5%"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="should be a version and its percentage"):
        share_argument(f"4={text}")
    assert share_argument("4=2.5") == (4, 2.5)


def test_kserve_takes_what_is_not_written_as_a_number_for_a_label() -> None:
    for text in TOO_LARGE:
        with pytest.raises(InvalidRequest, match="is no version"):
            target_of("m", text)
    for text in NO_NUMBERS[1:]:
        assert target_of("m", text) == ("m", None, text)
    assert target_of("m", "") == ("m", None, None)


def test_folders(tmp_path: Path) -> None:
    for name in ("3", "0012", *TOO_LARGE[:2], *NO_NUMBERS[1:]):
        (tmp_path / name).mkdir()
    folders, not_served = numbered_folders(tmp_path)
    assert set(folders) == {3, 12}
    assert len(not_served) == 2
    assert version_folder(tmp_path) == tmp_path / "0012"


@pytest.mark.parametrize("number", [-1, VERSION_MAX + 1])
def test_manifests_and_the_client(number: int) -> None:
    text = f"models: [{{name: m, path: m, versions: [{{version: {number}}}]}}]"
    with pytest.raises(ManifestError, match=r"should be at (least 0|most 9223372036854775807), not"):
        parse_manifest(text, source="m.yaml", base=Path("/base"))
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest, match="is no version"):
        client.predict("m", {}, version=number)
