#!/usr/bin/env python3
"""Makes the images here and what Pillow makes of each: python3 make.py (needs Pillow and numpy).

For every kind of image that is taken there is NAME.jpg (or .png, .webp, .gif, .bmp, .tiff), and NAME_jpg.pixels.png
(or NAME_png.pixels.png, …): turned upright, RGB, short side 56 (bicubic), the middle 40 x 48. `tests/transform.rs`
compares.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageOps

HERE = Path(__file__).parent
SHORT_SIDE, CROP_HEIGHT, CROP_WIDTH = 56, 40, 48


def picture() -> Image.Image:
    """Soft colours, hard edges and a little noise: 131 x 97, so that every margin is odd."""
    y, x = numpy.mgrid[0:97, 0:131]
    soft = numpy.dstack([x * 255 / 131, y * 255 / 97, 127 + 120 * numpy.sin(x / 9) * numpy.cos(y / 7)])
    image = Image.fromarray(soft.astype(numpy.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 15, 70, 60), fill=(230, 60, 30))
    draw.rectangle((75, 40, 110, 85), fill=(20, 40, 160))
    draw.line((0, 96, 130, 0), fill=(255, 255, 255), width=3)
    noise = numpy.random.default_rng(7).integers(-8, 9, (97, 131, 3))
    return Image.fromarray((numpy.asarray(image).astype(int) + noise).clip(0, 255).astype(numpy.uint8))


def jpeg(image: Image.Image, **options) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", **{"quality": 90, **options})
    return encoded.getvalue()


def png(image: Image.Image, **options) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", **options)
    return encoded.getvalue()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    return encoded.getvalue()


def on_a_screen(gif: bytes, width: int, height: int) -> bytes:
    """A frame that doesn't fill its screen."""
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def raw_png(samples: numpy.ndarray, colour: int, interlaced: bool = False) -> bytes:
    """What Pillow doesn't write: 16 bits a sample, and Adam7."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def rows(part: numpy.ndarray) -> bytes:
        return b"".join(b"\0" + row.tobytes() for row in part)

    samples = samples.astype(">u2") if samples.dtype == numpy.uint16 else samples
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b"".join(rows(numpy.ascontiguousarray(samples[y::down, x::across])) for x, y, across, down in passes)
    bits = samples.itemsize * 8
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def as_ycck(cmyk: bytes) -> bytes:
    """The same samples, declared to be YCCK: Adobe's transform 2."""
    changed = bytearray(cmyk)
    changed[changed.index(b"Adobe") + 11] = 2
    return bytes(changed)


def with_ids_123(rgb: bytes) -> bytes:
    """An RGB JPEG that only Adobe's transform 0 tells from YCbCr."""
    changed = bytearray(rgb)
    frame, scan = changed.index(b"\xff\xc0"), changed.index(b"\xff\xda")
    for index in range(3):
        changed[frame + 10 + 3 * index] = changed[scan + 5 + 2 * index] = index + 1
    return bytes(changed)


def held(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def kinds() -> dict[str, bytes]:
    image = picture()
    levels = numpy.asarray(image)
    low = numpy.random.default_rng(8).integers(0, 256, levels.shape).astype(numpy.uint16)
    wide = levels.astype(numpy.uint16) << 8 | low
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    return {
        "baseline.jpg": jpeg(image),
        "full_colour.jpg": jpeg(image, subsampling=0),
        "halved_across.jpg": jpeg(image, subsampling=1),
        "progressive.jpg": jpeg(image, progressive=True),
        "restarts.jpg": jpeg(image, restart_marker_rows=1),
        "grey.jpg": jpeg(image.convert("L")),
        "cmyk.jpg": jpeg(image.convert("CMYK")),
        "ycck.jpg": as_ycck(jpeg(image.convert("CMYK"))),
        "rgb.jpg": jpeg(image, keep_rgb=True),
        "rgb_by_adobe.jpg": with_ids_123(jpeg(image, keep_rgb=True)),
        **{f"held_{orientation}.jpg": jpeg(image, exif=held(orientation)) for orientation in range(2, 9)},
        "rgb.png": png(image),
        "rgba.png": png(clear),
        "grey_alpha.png": png(clear.convert("LA")),
        "palette.png": png(image.quantize(64)),
        "palette_alpha.png": png(image.quantize(64), transparency=bytes(range(64))),
        "one_bit.png": png(image.convert("1")),
        "rgb_16.png": raw_png(wide, 2),
        "grey_16.png": raw_png(wide[..., 0], 0),
        "interlaced.png": raw_png(levels, 2, interlaced=True),
        "held_6.png": png(image, exif=held(6)),
        **other_kinds(image, clear, wide),
    }


def other_kinds(image: Image.Image, clear: Image.Image, wide: numpy.ndarray) -> dict[str, bytes]:
    """WebP, GIF, BMP and TIFF."""
    second = [image.transpose(Image.Transpose.ROTATE_180)]
    palette = image.quantize(64)
    return {
        "lossy.webp": saved(image, "WEBP", quality=90),
        "lossy_alpha.webp": saved(clear, "WEBP", quality=90),
        "lossless.webp": saved(image, "WEBP", lossless=True),
        "lossless_alpha.webp": saved(clear, "WEBP", lossless=True, exact=True),
        "animated.webp": saved(image, "WEBP", lossless=True, save_all=True, append_images=second),
        "held_6.webp": saved(image, "WEBP", lossless=True, exif=held(6)),
        "palette.gif": saved(palette, "GIF"),
        "interlaced.gif": saved(palette, "GIF", interlace=1),
        "transparent.gif": saved(palette, "GIF", transparency=5),
        "animated.gif": saved(palette, "GIF", save_all=True, append_images=second),
        "small_frame.gif": on_a_screen(saved(palette, "GIF"), 160, 120),
        "grey.gif": saved(image.convert("L"), "GIF"),
        "rgb.bmp": saved(image, "BMP"),
        "rgba.bmp": saved(clear, "BMP"),
        "grey.bmp": saved(image.convert("L"), "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "one_bit.bmp": saved(image.convert("1"), "BMP"),
        "rgb.tiff": saved(image, "TIFF"),
        "rgba.tiff": saved(clear, "TIFF"),
        "grey.tiff": saved(image.convert("L"), "TIFF", compression="packbits"),
        "grey_16.tiff": saved(Image.fromarray(wide[..., 0]), "TIFF"),
        "one_bit.tiff": saved(image.convert("1"), "TIFF", compression="group4"),
        "lzw.tiff": saved(image, "TIFF", compression="tiff_lzw"),
        "deflate.tiff": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "cmyk.tiff": saved(image.convert("CMYK"), "TIFF"),
        "two_pages.tiff": saved(image, "TIFF", save_all=True, append_images=second),
        "held_6.tiff": saved(image, "TIFF", exif=held(6)),
    }


def pixels(encoded: bytes, how: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.mode.startswith("I"):  # Pillow's conversion of 16-bit grey would clip, not scale
        image = Image.fromarray((numpy.asarray(image).astype(numpy.uint16) >> 8).astype(numpy.uint8))
    if image.mode == "P":  # by way of RGBA, as Pillow asks for where the palette has transparency
        image = image.convert("RGBA")
    image = image.convert("RGB")
    short = min(image.size)
    width, height = (SHORT_SIDE * side // short for side in image.size)
    left, top = round((width - CROP_WIDTH) / 2), round((height - CROP_HEIGHT) / 2)
    resized = image.resize((width, height), how)
    return resized.crop((left, top, left + CROP_WIDTH, top + CROP_HEIGHT))


if __name__ == "__main__":
    for name in ("rgb.png", "held_6.png"):
        bilinear = pixels(kinds()[name], Image.Resampling.BILINEAR)
        (HERE / f"{name.replace('.', '_')}.bilinear.pixels.png").write_bytes(png(bilinear, optimize=True))
    for name, encoded in kinds().items():
        (HERE / name).write_bytes(encoded)
        stem = name.replace(".", "_")
        (HERE / f"{stem}.pixels.png").write_bytes(png(pixels(encoded), optimize=True))
