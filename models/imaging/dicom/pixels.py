"""The Image Pixel module of a DICOM data set (PS3.3 C.7.6.3), checked."""

from dataclasses import dataclass

from models.imaging.dicom.dataset import DataSet
from models.imaging.pixels.errors import ImageBroken, PixelsMissing, PixelsUnsupported

_GREY = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
YBR = {"YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, kw_only=True)
class PixelModule:
    """The Image Pixel module (PS3.3 C.7.6.3), as far as it describes one frame.

    Raises:
        PixelsUnsupported: the pixels are a mask, or of a kind that cannot be decoded faithfully.
        ImageBroken: the numbers of bits are impossible.
    """

    keyword: str
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int
    planar: bool = False

    def __post_init__(self) -> None:
        if self.bits_allocated == 1:
            raise PixelsUnsupported(
                "Expected a picture, got a mask of 1 bit per pixel (a segmentation, perhaps). "
                "Send the image that it was drawn on."
            )
        if self.bits_allocated not in (8, 16, 32, 64) or (  # PS3.5 8.1.1
            not 1 <= self.bits_stored <= self.bits_allocated
        ):
            raise ImageBroken(
                "Expected BitsAllocated of 8, 16, 32 or 64 and BitsStored of no more, got others. "
                "Export the image again."
            )
        if self.samples != (1 if self.photometric in _GREY else 3) or (
            self.photometric not in _GREY | YBR | {"RGB"}
        ):
            raise PixelsUnsupported(
                "Expected MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR_FULL pixels with the "
                "samples that belong to them, got others. Convert the image."
            )
        if self.samples == 3 and (
            self.signed or (self.photometric in YBR and self.bits_allocated > 8)
        ):
            raise PixelsUnsupported(
                "Expected unsigned colour, and YBR of 8 bits, got another kind. "
                "Convert the image to RGB."
            )

    @property
    def is_shifted(self) -> bool:
        """Whether the file says that the stored bits are not the lowest ones."""
        return self.high_bit != self.bits_stored - 1

    @property
    def is_colour(self) -> bool:
        return self.samples == 3

    @property
    def last_bit(self) -> int:
        """The highest bit that is allocated."""
        return self.bits_allocated - 1

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits_allocated // 8

    @property
    def reach(self) -> tuple[float, float]:
        """The smallest and largest value that the bits can store."""
        if self.signed:
            return -(2.0 ** (self.bits_stored - 1)), 2.0 ** (self.bits_stored - 1) - 1
        return 0.0, 2.0**self.bits_stored - 1


def read_pixel_module(dataset: DataSet) -> PixelModule:
    """Returns the data set's Image Pixel module.

    What is absent and has one usual value gets that value, and the data set a note.

    Raises:
        PixelsMissing: there is no pixel data.
        ImageBroken: a required element is missing or is not a number.
    """
    keyword = next((name for name in _PIXELS if name in dataset), None)
    if keyword is None:
        raise PixelsMissing(perhaps_cut="Rows" in dataset)
    if dataset.get_code("Modality") == "SEG":
        raise PixelsUnsupported(
            "Expected a picture, got a segmentation. Send the image that it was drawn on."
        )
    integers = keyword == "PixelData"
    allocated = _read_whole(dataset, "BitsAllocated")
    stored = _read_bits_stored(dataset, allocated) if integers else allocated
    samples, photometric = _read_samples(dataset)
    return PixelModule(
        keyword=keyword,
        rows=_read_whole(dataset, "Rows"),
        columns=_read_whole(dataset, "Columns"),
        samples=samples,
        photometric=photometric,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_read_high_bit(dataset, stored, allocated) if integers else stored - 1,
        signed=integers and _read_or_assume(dataset, "PixelRepresentation", 0) == 1,
        frames=max(1, _read_frames(dataset)),
        planar=samples > 1 and _read_or_assume(dataset, "PlanarConfiguration", 0) == 1,
    )


def _read_frames(dataset: DataSet) -> int:
    """Returns NumberOfFrames; of a text that only begins with a number, that number."""
    try:
        return _read_whole(dataset, "NumberOfFrames", 1)
    except ImageBroken:
        number = dataset.find_leading_whole("NumberOfFrames")
        if number is None:
            raise
        dataset.notes.append(f"NumberOfFrames is not a number; it was read as {number}.")
        return number


def _read_bits_stored(dataset: DataSet, allocated: int) -> int:
    """Returns BitsStored; of 0 or of more than are allocated, the bits that are allocated."""
    stored = _read_or_assume(dataset, "BitsStored", allocated)
    if 1 <= stored <= allocated:
        return stored
    dataset.notes.append(f"BitsStored is {stored}, which cannot be; {allocated} was assumed.")
    return allocated


def _read_high_bit(dataset: DataSet, stored: int, allocated: int) -> int:
    """Returns HighBit; one that leaves no room for the stored bits is not believed."""
    high = _read_whole(dataset, "HighBit", stored - 1)
    if stored - 1 <= high < allocated:
        return high
    dataset.notes.append(f"HighBit is {high}, which cannot be; {stored - 1} was assumed.")
    return stored - 1


def _read_samples(dataset: DataSet) -> tuple[int, str]:
    """Returns SamplesPerPixel and PhotometricInterpretation; each suggests the other."""
    photometric = dataset.get_code("PhotometricInterpretation")
    colour = photometric in YBR | {"RGB"}
    samples = _read_or_assume(dataset, "SamplesPerPixel", 3 if colour else 1)
    if photometric:
        return samples, photometric
    assumed = "RGB" if samples == 3 else "MONOCHROME2"
    dataset.notes.append(_assumed("PhotometricInterpretation", assumed))
    return samples, assumed


def _read_or_assume(dataset: DataSet, keyword: str, usual: int) -> int:
    """Returns a whole number; where there is none, the usual one, with a note."""
    if not dataset.list_wholes(keyword):
        dataset.notes.append(_assumed(keyword, str(usual)))
        return usual
    return _read_whole(dataset, keyword)


def _read_whole(dataset: DataSet, keyword: str, usual: int | None = None) -> int:
    """Returns the first number of an element."""
    values = dataset.list_wholes(keyword)
    if len(values) > 1:
        dataset.notes.append(f"{keyword} has {len(values)} values; the first was used.")
    if values:
        return values[0]
    if usual is None:
        raise ImageBroken(
            f"Expected the DICOM element {keyword}, which decoding needs, got none. "
            "Export the image again."
        )
    return usual


def _assumed(keyword: str, value: str) -> str:
    return f"{keyword} is absent; {value} was assumed."
