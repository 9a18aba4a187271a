"""The few header fields of a DICOM file that decide how it is stacked."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from .atomic import is_unicode
from .errors import InputError
from .itk import quiet_itk

META_BYTES = 4096
LONG_VR = (
    b"OB",
    b"OD",
    b"OF",
    b"OL",
    b"OV",
    b"OW",
    b"SQ",
    b"SV",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"UV",
)
SHORT_VR = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
META_ELEMENTS = {0x0002: "sop_class", 0x0010: "transfer_syntax"}
RESCALE = ("0028|1053", "0028|1052")
RUN_LENGTHS = "1.2.840.10008.1.2.5"
PACKED_PIXELS = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
# The pixels' tag, in either order of bytes, and what struct calls that order.
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_TAGS = ((b"\xe0\x7f\x10\x00", "<"), (b"\x7f\xe0\x00\x10", ">"))
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


@dataclass(frozen=True, kw_only=True)
class SliceHeader:
    """What one file says of itself; empty tuples where it says nothing.

    ``position`` is in LPS mm, ``orientation`` holds the row and column direction, and
    ``pixel_spacing_mm`` the distance between rows, then between columns. ``pixel_type`` is
    SimpleITK's code of the rescaled pixels, ``is_cut`` tells that the pixels are incomplete or what
    says how to read them is damaged, ``is_inverted`` that white is stored as the smallest value.
    """

    path: Path
    series_uid: str
    description: str
    kernel: str
    modality: str
    rows: int
    columns: int
    frames: int
    samples: int
    is_localizer: bool
    is_cut: bool
    is_inverted: bool
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    thickness_mm: float
    rescale: tuple[float, ...]
    pixel_type: int


def read_header(path: Path) -> SliceHeader | None:
    """Read the header of a DICOM image; None where the file is none, is damaged, or has a name or
    an order of bits that ITK cannot take.
    """
    if not is_unicode(path):
        return None
    segments = _run_segments(path)
    if segments == 0 or _promises_more(path):
        return None
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return None
    rows, columns = _whole(reader, "0028|0010"), _whole(reader, "0028|0011")
    frames, samples = _whole(reader, "0028|0008", 1), _whole(reader, "0028|0002", 1)
    sample_bytes = _whole(reader, "0028|0100", 16) // 8
    pixel_bytes = rows * columns * frames * samples * sample_bytes
    missing = _missing_bytes(path, pixel_bytes)
    stored_bits = _whole(reader, "0028|0101")
    # PS3.5, section 8.1.1; GDCM reads the bits from the lowest on, wherever the highest lies.
    if missing or _whole(reader, "0028|0102", stored_bits - 1) != stored_bits - 1:
        return None
    return SliceHeader(
        path=path,
        series_uid=_text(reader, "0020|000e"),
        description=_text(reader, "0008|103e"),
        kernel=_text(reader, "0018|1210"),
        modality=_text(reader, "0008|0060"),
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        is_localizer="LOCALIZER" in _text(reader, "0008|0008").upper().split("\\"),
        is_cut=missing is None
        or _is_garbled(reader, RESCALE)
        or segments not in (None, samples * sample_bytes),
        is_inverted=_text(reader, "0028|0004") == "MONOCHROME1",
        position=_numbers(reader, "0020|0032", 3),
        orientation=_numbers(reader, "0020|0037", 6),
        pixel_spacing_mm=_lengths(reader, "0028|0030", 2),
        thickness_mm=(_lengths(reader, "0018|0050", 1) or (0.0,))[0],
        rescale=tuple(value for key in RESCALE for value in _numbers(reader, key, 1)),
        pixel_type=reader.GetPixelID(),
    )


def file_meta(path: Path) -> dict[str, str]:
    """Return ``sop_class`` and ``transfer_syntax`` as far as the file's meta group gives them.

    It is always stored as explicit little endian (PS3.10, section 7.1), so it can be read also
    where nothing else of the file can.
    """
    with path.open("rb") as file:
        head = file.read(META_BYTES)
    found: dict[str, str] = {}
    place = 132 if head[128:132] == b"DICM" else len(head)
    while place + 12 <= len(head):
        group, element, kind, length = struct.unpack_from("<HH2sH", head, place)
        start = place + 8
        if kind in LONG_VR:
            (length,) = struct.unpack_from("<I", head, start)
            start += 4
        if group != 2:
            break
        if element in META_ELEMENTS:
            value = head[start : start + length].decode("ascii", "replace")
            found[META_ELEMENTS[element]] = value.strip("\0 ")
        place = start + length
    return found


def transfer_syntax_name(uid: str) -> str:
    """Return ``"JPEG 2000 ... (1.2.840...)"``, or the bare UID where pydicom is not at hand."""
    if not uid:
        return "not given"
    try:
        from pydicom.uid import UID
    except ImportError:
        return uid
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def undecodable(path: Path) -> InputError:
    """Return the error for a slice that cannot be decoded; it names the transfer syntax."""
    if not is_unicode(path):
        return InputError(
            "bad-file-name",
            "A slice of the series has a file name that is not valid Unicode.",
            "Rename the files with plain letters and digits.",
        )
    syntax = transfer_syntax_name(file_meta(path).get("transfer_syntax", ""))
    return InputError(
        "undecodable-slice",
        f"{path.name} cannot be decoded; its transfer syntax is {syntax}.",
        "Export the series uncompressed, or copy it again if it was damaged on the way.",
    )


def _promises_more(path: Path) -> bool:
    """Tell whether an element of the header is longer than the file.

    GDCM asks for as much memory as is promised, fills it, and on its way out forgets to free it: a
    file of 200 bytes took two gigabytes from the process for good. Looked at are the elements
    (PS3.5, section 7.1) up to the first whose length is open, so what is nested below it is not.
    """
    syntax = file_meta(path).get("transfer_syntax", "")
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(128)
        place = 132 if file.read(4) == b"DICM" else 0
        while place + 8 <= size:
            file.seek(place)
            head = file.read(12)
            in_meta = head[:2] == b"\2\0"
            if syntax == DEFLATED and not in_meta:
                return False
            # GDCM reads a length of four bytes where no known letters stand for the kind of value.
            kind = head[4:6]
            explicit = (in_meta or syntax != IMPLICIT) and kind in (*LONG_VR, *SHORT_VR)
            order = ">" if syntax == BIG_ENDIAN and not in_meta else "<"
            start, form = place + 8, "I"
            where = 4
            if explicit and kind in LONG_VR:
                start, where = place + 12, 8
            elif explicit:
                where, form = 6, "H"
            if len(head) < where + struct.calcsize(form):
                return True
            (length,) = struct.unpack_from(f"{order}{form}", head, where)
            if length == UNDEFINED_LENGTH:
                return False
            place = start + length
    return place > size


def _missing_bytes(path: Path, pixel_bytes: int) -> int | None:
    """Return how many bytes of the pixels the file has lost; None where it promises too few.

    Looked up here since GDCM of SimpleITK up to 2.5.3 fills up what is missing, without a word.
    Packed pixels (PS3.5, annex A.4) have no length of their own: 0.
    """
    if pixel_bytes <= 0:
        return None
    if file_meta(path).get("transfer_syntax", UNCOMPRESSED[0]) not in UNCOMPRESSED:
        return 0
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for tag, order in PIXEL_TAGS:
            place = data.find(tag)
            while 0 <= place <= len(data) - 12:
                start = place + (12 if data[place + 4 : place + 6] in LONG_VR else 8)
                length = int(struct.unpack_from(f"{order}I", data, start - 4)[0])
                # A shorter one is that of an icon, which is nested in the header.
                if pixel_bytes <= length < UNDEFINED_LENGTH:
                    return max(start + length - len(data), 0)
                place = data.find(tag, place + 1)
    return None


def _is_garbled(reader: sitk.ImageFileReader, keys: tuple[str, ...]) -> bool:
    """Tell whether a number is given that is none: GDCM takes what is before the first slip."""
    return any(_text(reader, key) and not _numbers(reader, key, 1) for key in keys)


def _run_segments(path: Path) -> int | None:
    """Return how many segments run lengths (PS3.5, annex G) are in; 0 where they begin wrongly.

    None where the pixels are packed in another way or not at all. GDCM believes the table of
    segments, already while it reads the header, and ends the process where it is nonsense.
    """
    if file_meta(path).get("transfer_syntax") != RUN_LENGTHS:
        return None
    data = path.read_bytes()
    start = data.find(PACKED_PIXELS)
    table = start + len(PACKED_PIXELS)  # an item with the places of the frames
    if start < 0 or len(data) < table + 8:
        return 0
    frame = table + 8 + int(struct.unpack_from("<I", data, table + 4)[0])
    if data[frame : frame + 4] != ITEM or len(data) < frame + 8 + 64:
        return 0
    length, count, *starts = struct.unpack_from("<17I", data, frame + 4)
    used = starts[:count]
    good = 0 < count <= 15 and used[0] == 64 and used == sorted(set(used)) and used[-1] < length
    return count if good else 0


def _text(reader: sitk.ImageFileReader, key: str) -> str:
    if not reader.HasMetaDataKey(key):
        return ""
    raw = str(reader.GetMetaData(key)).encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # Control characters in a description could drive the user's terminal.
    return "".join(letter for letter in text if letter.isprintable()).strip()


def _numbers(reader: sitk.ImageFileReader, key: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in _text(reader, key).split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def _lengths(reader: sitk.ImageFileReader, key: str, count: int) -> tuple[float, ...]:
    values = _numbers(reader, key, count)
    return values if all(value > 0 for value in values) else ()


def _whole(reader: sitk.ImageFileReader, key: str, default: int = 0) -> int:
    values = _numbers(reader, key, 1)
    return int(values[0]) if values else default
