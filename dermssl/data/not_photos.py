"""Which files and folders are no photos, and why: by name, by place and by content.

A photo is known by its content, so that its ending may be missing or odd. What looks like a
picture and isn't taken as a photo has a reason; what is no picture (tables, texts) has none.
"""

import os
import posixpath
import re
from collections.abc import Collection
from pathlib import PurePosixPath

from PIL import Image

from dermssl.core import output_folders
from dermssl.data import other_formats, packed, photo_bytes

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff",
)  # fmt: skip
ACCEPTED = (
    "accepted formats are JPEG, PNG, BMP, WebP and TIFF, with the extra heic HEIC, with the extra "
    "dicom DICOM"
)
EXTRA_SUFFIXES = {
    ".heic": other_formats.HEIF, ".heif": other_formats.HEIF, ".hif": other_formats.HEIF,
    ".dcm": other_formats.DICOM, ".dicom": other_formats.DICOM,
}  # fmt: skip
# Pictures that nothing here decodes, and films.
OTHER_PICTURES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf",
    ".srw", ".x3f", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm", ".jxl", ".jxr",
    ".gif", ".avif", ".avifs", ".psd", ".psb", ".xcf", ".svg", ".ico", ".tga", ".ppm", ".pgm",
    ".pbm", ".pnm", ".eps", ".exr", ".hdr", ".svs", ".ndpi", ".scn", ".mrxs", ".vsi", ".nii",
    ".mov", ".mp4", ".avi", ".m4v", ".mkv",
))  # fmt: skip
COPIES = (".bak", ".old", ".orig", ".tmp", ".part", ".crdownload", ".download")
# Never opened: what stands beside photos in their thousands.
NO_PICTURES = frozenset((
    ".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".xml", ".xlsx", ".xls", ".ods", ".md",
    ".rst", ".html", ".htm", ".pdf", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".py", ".ipynb",
    ".m", ".r", ".sh", ".bat", ".log", ".lock", ".db", ".sqlite", ".zip", ".gz", ".tar", ".tgz",
    ".bz2", ".xz", ".7z", ".rar", ".h5", ".hdf5", ".keras", ".npy", ".npz", ".pkl", ".mat",
    ".parquet", ".tfrecord", ".pt", ".pth", ".onnx", ".doc", ".docx", ".ppt", ".pptx", ".aae",
    ".xmp", ".thm", ".ds_store",
))  # fmt: skip

SYSTEM_FOLDERS = frozenset((
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found",
    "system volume information", "recycler", ".thumbnails", "thumbnails", "thumbs", "__macosx",
))  # fmt: skip
MASK_FOLDER = re.compile(
    r"(.*[ _-])?(masks?|super_?pixels?|ground[ _-]?truths?|segmentations?|gt|contours?)([ _-].*)?",
    re.IGNORECASE,
)
# ISIC's and HAM10000's segmentations, superpixels and attributes, PH2's regions of one colour.
MASK_NAME = re.compile(
    r".+(_segmentation|_super_?pixels?|_masks?|_attribute_\w+|_R\d+_Label\d+)([ _.-].*)?",
    re.IGNORECASE,
)
LESION_MASK = re.compile(r".+?(_segmentation.*|_mask|_lesion|_seg|_gt|_groundtruth)", re.I)
# These words also name photos: only a picture without colours, beside a photo NAME, is a mask.
MAYBE_MASK = re.compile(
    r"(.+?)[ _-]?\(?(lesion|segm?|gt|groundtruth|ground_truth|contour|roi|mask|label|binary|bw)\)?",
    re.I,
)
THUMBNAIL = re.compile(r"(.*[ _.-])?(thumbs?|thumbnails?)([ _.-].*|\d*)", re.IGNORECASE)

MASK = "lesion masks or superpixels"
SYSTEM = "folders of the system or of thumbnails"
OURS = "folders that dermssl wrote"
HIDDEN = "hidden files"
THUMBNAILS = "thumbnails"
HALF = "copies or halves of files"
GONE = "links to nothing"
LINKS = "links to folders, not followed"
PACKED = "packed; unpack them if they hold photos"


def folder_reason(path: str, name: str) -> str:
    """Why a folder holds no photos; "" where it may.

    Args:
        path: of the folder.
        name: its last part.
    """
    if name.lower() in SYSTEM_FOLDERS:
        return SYSTEM
    if MASK_FOLDER.fullmatch(name):
        return MASK
    return OURS if output_folders.is_ours(path) else ""


def file_reason(path: str, name: str) -> str | None:
    """Why a file is no photo: "" where it may be one, None where it is no picture.

    Args:
        path: of the file; it is opened only where the ending says nothing.
        name: its last part.
    """
    stem, suffix = os.path.splitext(name)
    suffix = suffix.lower()
    if name.startswith("."):  # "._a.jpg" is macOS's note about a.jpg
        return HIDDEN if suffix in SUFFIXES and not name.startswith("._") else None
    if packed.is_archive(name):
        return f"{suffix}: {PACKED}"
    if suffix in NO_PICTURES or name.upper() == "DICOMDIR":
        return None
    if suffix in COPIES or name.endswith("~"):
        inner = os.path.splitext(stem if suffix in COPIES else name[:-1])[1].lower()
        return HALF if inner in SUFFIXES else None
    if suffix in OTHER_PICTURES:
        return f"{suffix}: convert them {other_formats.WAY_OUT}"
    kind = EXTRA_SUFFIXES.get(suffix)
    if suffix not in SUFFIXES and kind is None:
        kind = _kind(path)
        if kind is None:
            return None
    if kind and (missing := other_formats.missing(kind)):
        return f"{suffix or kind}: {missing}"
    if MASK_NAME.fullmatch(stem):
        return MASK
    return THUMBNAILS if THUMBNAIL.fullmatch(stem) else ""


def says_nothing(name: str) -> bool:
    """Whether a name doesn't say what a file is, photo or not; a container's may hold photos."""
    suffix = os.path.splitext(name)[1].lower()
    known = suffix in (*SUFFIXES, *EXTRA_SUFFIXES) or suffix in NO_PICTURES | OTHER_PICTURES
    return not name.startswith(".") and (not known or photo_bytes.is_container(name))


def is_picture(reason: str) -> bool:
    """Whether a reason from `file_reason` is that of a picture that can't be read."""
    return reason.endswith(other_formats.WAY_OUT)


def is_mask_for_sure(path: str) -> bool:
    """Whether an image is a mask by its name or its folder alone.

    Args:
        path: relative to the data folder.
    """
    place = PurePosixPath(path)
    in_folder = any(map(MASK_FOLDER.fullmatch, place.parts[:-1]))
    return in_folder or bool(MASK_NAME.fullmatch(place.stem))


def _kind(path):
    """ "" for an image that `decode` reads, the format of one that needs an extra, else None."""
    if not os.path.isfile(path):  # a pipe would block for ever
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return None
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *other_formats.TIFF_HEADS)):
        return ""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ""
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # a letter may begin with BM
        return ""
    return other_formats.kind(head)


def masks_by_companion(root: str, photos: Collection[str]) -> set[str]:
    """Those of the photos that are masks of others: NAME_lesion.bmp of NAME.bmp, without colours.

    Args:
        root: of the paths.
        photos: paths relative to the root.
    """
    stems = {path: posixpath.splitext(posixpath.basename(path))[0] for path in photos}
    names = set(stems.values())
    found = set()
    for path, stem in stems.items():
        name = MAYBE_MASK.fullmatch(stem)
        if name and name[1] in names and _without_colours(os.path.join(root, path)):
            found.add(path)
    return found


def _without_colours(path):
    """Whether a picture is black and white by its header, or to the eye."""
    try:
        with photo_bytes.opened(path) as file, Image.open(file) as image:
            if image.mode in ("1", "L", "I;16"):
                return True
            if image.size[0] * image.size[1] > 64_000_000:
                return False
            histogram = image.convert("L").histogram()
    except Exception:  # damaged: `decode` says so
        return False
    return sum(histogram[:16] + histogram[-16:]) >= 0.98 * sum(histogram)
