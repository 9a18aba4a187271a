"""Points from the command line and from files: every coordinate system ends in LPS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isdmae.errors import InputError
from isdmae.point_file import parse_points, read_points

LPS = ((-1.5, 2.0, 3.0), (10.0, 20.0, 30.0))


def markups(system: str, sign: int) -> str:
    points = [
        {"label": "N-1", "position": [sign * -1.5, sign * 2.0, 3.0], "positionStatus": "defined"},
        {"label": "N-2", "position": [sign * 10.0, sign * 20.0, 30.0]},
        {"label": "N-3", "position": [0.0, 0.0, 0.0], "positionStatus": "undefined"},
    ]
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}
    return json.dumps({"@schema": "markups-schema-v1.0.3.json#", "markups": [markup]})


def fcsv(system: str, sign: int) -> str:
    return (
        "# Markups fiducial file version = 4.11\n"
        f"# CoordinateSystem = {system}\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        f'1,{sign * -1.5},{sign * 2.0},3,0,0,0,1,1,1,0,"N-1, above",,\n'
        f"2,{sign * 10.0},{sign * 20.0},30,0,0,0,1,1,1,0,N-2,,,2,0\n"
        "3,0,0,0,0,0,0,1,1,1,0,N-3,,,0,0\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mrk.json", markups("LPS", 1)),
        ("a.mrk.json", markups("RAS", -1)),
        ("a.fcsv", fcsv("LPS", 1)),
        ("a.fcsv", fcsv("RAS", -1)),
        ("a.fcsv", fcsv("0", -1)),
        ("a.csv", '"label","l","p","s","defined"\n"a",-1.5,2,3,1\n"b",10,20,30,1\n"c",0,0,0,0\n'),
        ("a.csv", "r,a,s\n1.5,-2,3\n-10,-20,30\n"),
        ("a.csv", "\ufeffName,X,Y,Z\none,-1.5,2,3\n\ntwo,10,20,30\n"),
        ("a.csv", "-1.5, 2, 3\n10,20,30\n"),
    ],
)
def test_files_are_read_to_lps(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_points(tmp_path / name) == LPS


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.mrk.json", "{", "a.mrk.json: "),
        ("a.mrk.json", "[]", "no list of points"),
        ("a.mrk.json", markups("IJK", 1), "neither LPS nor RAS"),
        ("a.mrk.json", json.dumps({"markups": []}), "no point in"),
        ("a.mrk.json", '{"markups":[{"controlPoints":[{"position":"123"}]}]}', "three numbers"),
        ("a.mrk.json", "[" * 100_000, "no list of points"),
        ("a.fcsv", "1,2\n", "no list of points"),
        ("a.csv", "1,2,3,4\n", "row 1 is not three numbers"),
        ("a.csv", "x,y,z\n1,2,nan\n", "row 2 is not three numbers"),
        ("a.csv", "", "no point in"),
    ],
)
def test_what_is_no_list_of_points_is_refused(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_points(tmp_path / name)
    assert caught.value.code == "bad-points"


def test_absent_large_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_points(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "a.csv")
    with (tmp_path / "b.csv").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(InputError, match="larger than any"):
        read_points(tmp_path / "b.csv")


@pytest.mark.parametrize("text", ["", ";", "1,2", "1,2,x", "1,2,inf"])
def test_points_of_the_command_line_are_three_numbers(text: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        parse_points(text)
