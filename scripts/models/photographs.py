"""Makes the photographs that the tests decode: each file format and oddity that people send.

    python3 scripts/models/photographs.py tests/photographs

The pictures are those of scikit-image's data folder that their photographers put under CC0 or in
the public domain (`tests/photographs/README.md` says whose). Every file stays under 200 KB.
"""

import importlib.util
import sys
from pathlib import Path

import numpy
import png
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "models/efficientnet_lite0/samples/cat.jpg"
ORIENTATION = 0x0112  # the EXIF tag

# What a camera does to the upright picture before it stores it with this orientation.
STORED = {
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_270],
}


def source(name: str) -> Image.Image:
    """A picture of scikit-image's, found without importing the package."""
    spec = importlib.util.find_spec("skimage")
    return Image.open(Path(spec.origin).parent / "data" / name)


def colour(name: str, size: tuple[int, int] | None = None) -> Image.Image:
    image = source(name).convert("RGB")
    return image.resize(size, Image.Resampling.LANCZOS) if size else image


def cat(size: tuple[int, int] | None = None) -> Image.Image:
    """The cat with the right of the picture cut off: one breed then leads the others clearly.

    Of the whole picture two labels are as good as equal, and any two decoders may disagree on them.
    """
    image = colour("chelsea.png").crop((0, 0, 360, 300))
    return image.resize(size, Image.Resampling.LANCZOS) if size else image


def cup(size: tuple[int, int] | None = None) -> Image.Image:
    return colour("coffee.png", size)


def turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for step in STORED[orientation]:
        image = image.transpose(step)
    return image, exif


def cmyk(image: Image.Image) -> Image.Image:
    """Separates the colours with half of the grey in black, so that all four plates matter."""
    plates = 1.0 - numpy.asarray(image).astype(numpy.float64) / 255.0
    black = plates.min(axis=2) * 0.5
    inks = (plates - black[..., None]) / (1.0 - black[..., None])
    all_four = numpy.dstack([inks, black])
    return Image.fromarray(numpy.rint(all_four * 255.0).astype(numpy.uint8), "CMYK")


def sixteen_bits(values: numpy.ndarray) -> numpy.ndarray:
    """Samples of 16 bits that become `values` by their high byte and by rounding x / 257 alike.

    Their low bytes differ from the high ones, so that bytes in the wrong order show.
    """
    high = values.astype(numpy.int64)
    row, column = numpy.indices(values.shape[:2])
    low = 255 - high + 16 * ((row + column) % 4).reshape(values.shape[:2] + (1,) * (values.ndim - 2))
    low = numpy.clip(low, numpy.maximum(high - 128, 0), numpy.minimum(high + 127, 255))
    return (high * 256 + low).astype(numpy.uint16)


def write_png(path: Path, samples: numpy.ndarray, bits: int, interlace: bool = False) -> None:
    """What Pillow can't write: 16 bits a channel in colour, and Adam7."""
    height, width = samples.shape[:2]
    writer = png.Writer(
        width, height, greyscale=samples.ndim == 2, bitdepth=bits, interlace=interlace, compression=9
    )
    with path.open("wb") as file:
        rows = samples.reshape(height, -1)
        if interlace:
            writer.write_array(file, rows.flatten().tolist())
        else:
            writer.write(file, rows.tolist())


def partly_clear(image: Image.Image) -> Image.Image:
    """Alpha that falls from 255 at the left to 0 at the right."""
    width, height = image.size
    ramp = numpy.tile(numpy.linspace(255, 0, width).round().astype(numpy.uint8), (height, 1))
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(ramp))
    return image


def jpegs(out: Path) -> None:
    cat().save(out / "baseline.jpg", quality=90, subsampling="4:2:0")
    cat().save(out / "full_chroma.jpg", quality=90, subsampling="4:4:4")
    cup().save(out / "progressive.jpg", quality=88, subsampling="4:2:0", progressive=True)
    colour("rocket.jpg").save(out / "restart_markers.jpg", quality=85, restart_marker_rows=1, comment=b"")
    source("camera.png").convert("L").save(out / "grey.jpg", quality=88)
    cmyk(cup()).save(out / "cmyk.jpg", quality=80)
    for orientation in STORED:
        image, exif = turned(cup() if orientation % 2 else cat(), orientation)
        image.save(out / f"orientation_{orientation}.jpg", quality=88, exif=exif)


def pngs(out: Path) -> None:
    camera = lambda side: source("camera.png").convert("L").resize((side, side), Image.Resampling.LANCZOS)
    cat((300, 250)).save(out / "rgb.png", optimize=True)
    camera(360).save(out / "grey.png", optimize=True)
    partly_clear(cup((330, 220))).save(out / "rgba.png", optimize=True)
    palette = cup().quantize(96, dither=Image.Dither.NONE)
    # Every third colour is clear to some degree, the first of them wholly.
    clear = bytes(0 if i == 0 else 120 if i % 3 == 0 else 255 for i in range(96))
    palette.save(out / "palette.png", transparency=clear, optimize=True)
    write_png(out / "interlaced.png", numpy.asarray(cup((288, 192))), 8, interlace=True)
    write_png(out / "grey_16.png", sixteen_bits(numpy.asarray(camera(320))), 16)
    write_png(out / "rgb_16.png", sixteen_bits(numpy.asarray(cat((216, 180)))), 16)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    jpegs(out)
    pngs(out)
    Image.open(SAMPLE).save(out / "cat.webp", quality=80)
    for file in sorted(out.iterdir()):
        if file.stat().st_size > 200_000:
            raise SystemExit(f"{file.name} has {file.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
