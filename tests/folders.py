"""Folders of photos and tables, as people have them."""

import openpyxl
from PIL import Image

from dermssl.core.settings import Data
from dermssl.data import readers

GREY = Image.new("RGB", (8, 8), (120, 90, 80))


def fill(root, photos=(), **tables):
    """A folder with photos at the given paths, and tables of lines."""
    for place in photos:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        GREY.save(root / place)
    for name, lines in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".xlsx"):
            workbook(root / name, {"Sheet1": lines})
        else:
            (root / name).write_text("\n".join(lines) + "\n")
    return root


def workbook(file, sheets):
    """An Excel file with the rows of each sheet; a row is a list of cells or a CSV line."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row.split(",") if isinstance(row, str) else row)
    book.save(file)
    return book


def read(root, **options):
    return readers.read(Data(path=str(root), **options)).index.set_index("path")
