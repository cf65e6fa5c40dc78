"""The HTML page in headless Chromium: no errors, no requests, tables that sort, no barrier."""

import shutil

import cv2
import numpy as np
import pytest

from dermssl.evaluation.interval import Interval
from dermssl.reporting import figures, hover, report

sync_api = pytest.importorskip("playwright.sync_api", reason="make install brings playwright")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with everything that the script works on, open in a browser."""
    folder = tmp_path_factory.mktemp("page")
    figure, (axes,) = figures.new(4, 3)
    for x, text in enumerate(["first", "<b>second</b>", "third"]):
        hover.note(axes, 0.1 + 0.4 * x, 0.5, text, f"0,{x}")
    figures.save(figure, folder / "a.png")
    jpeg = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    rows = [
        ["melanoma", Interval(0.5, 0.4, 0.6), 20],
        ["Nevus", Interval(0.75, 0.6, 0.8), 1200],
        ["akiec", None, 3],
        ["basal", report.Cell(-0.25, " (!)"), float("nan")],
    ]
    rows += [[f"row {k}", 0.1 + k / 100, k] for k in range(8)]
    columns = ["class", "score", report.Column("records", right=True)]
    case = [report.Photo(text, jpeg) for text in ("<u>", "b")]
    made = report.Report(
        "A report",
        [report.Text("text"), report.Warnings(["careful"])],
        [
            report.Section("Found", [report.Findings(["The finding."])]),
            report.Section("Table", [report.Table(columns, rows)]),
            report.Section("Gallery", [report.Gallery([case] * 3)]),
            report.Section("Wide", [report.Table(["a" * 90, "b" * 90], [[1, 2]])]),
            report.Section(
                "Figure",
                [report.Figure("a.png", "a figure", {"0,1": [report.Photo("<i>p</i>", jpeg)] * 2})],
            ),
        ],
        ["`code`"],
    )
    report.write(made, folder)
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.seen = []
        tab.on("console", lambda message: tab.seen.append(message.text))
        tab.on("pageerror", lambda error: tab.seen.append(str(error)))
        tab.on("request", lambda request: tab.seen.append(request.url))
        tab.goto((folder / "report.html").as_uri())
        tab.seen = [text for text in tab.seen if not text.startswith(("data:", "file:"))]
        yield tab
        browser.close()


def column(page, number, table=0):
    cells = f"table >> nth={table} >> tbody tr:visible >> td:nth-child({number})"
    return page.locator(cells).all_inner_texts()


def test_it_opens_without_errors_or_requests_and_fits_a_phone(page):
    assert page.seen == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".lead").inner_text() == "The finding."
    titles = ["Found", "Table", "Gallery", "Wide", "Figure"]
    assert page.locator("nav a").all_inner_texts() == titles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    violations = axe.run(page).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in SERIOUS] == []


def test_tables_sort_by_number_with_what_is_unknown_last(page):
    first = column(page, 1)
    button = page.get_by_role("button", name="records")
    button.click()
    assert column(page, 3) == [*"0123", "3", *"4567", "20", "1,200", "n/a"]
    head = page.locator("th", has=button)
    assert head.get_attribute("aria-sort") == "ascending"
    button.press("Enter")  # by keyboard, too
    assert column(page, 3)[:2] == ["1,200", "20"]
    assert column(page, 3)[-1] == "n/a"
    button.click()
    assert column(page, 1) == first
    page.get_by_role("button", name="score").click()
    assert column(page, 1)[0] == "basal"
    assert column(page, 1)[-3:] == ["melanoma", "Nevus", "akiec"]
    page.get_by_role("button", name="class").click()
    assert column(page, 1)[:4] == ["akiec", "basal", "melanoma", "Nevus"]
    page.get_by_role("button", name="class").click()
    page.get_by_role("button", name="class").click()


def test_tables_filter_by_all_words(page):
    box = page.get_by_label("Filter the rows")
    box.fill("ROW 7")
    assert column(page, 1) == ["row 7"]
    assert page.get_by_text("1 of 12 rows").is_visible()
    box.fill("")
    assert len(column(page, 1)) == 12


def test_figures_show_values_by_keyboard_and_open_photos(page):
    frame = page.locator("figure[data-values] .frame")
    tip = frame.locator(".tip")
    frame.press("ArrowRight")
    assert tip.inner_text() == "first"
    frame.press("ArrowRight")
    assert tip.inner_text() == "<b>second</b> (click for photos)"
    frame.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.locator("h2").inner_text() == "<b>second</b>"
    assert dialog.locator("figcaption").all_inner_texts() == ["<i>p</i>"] * 2
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_a_gallery_shows_its_cases_side_by_side_within_the_page(page):
    gallery = page.locator(".gallery")
    assert gallery.locator("figcaption").all_inner_texts() == ["<u>", "b"] * 3
    width = page.viewport_size["width"]
    boxes = [image.bounding_box() for image in gallery.locator("img").all()]
    for left, right in zip(boxes[::2], boxes[1::2]):
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] < right["x"] < right["x"] + right["width"] <= width


def test_figures_show_the_nearest_value_under_the_pointer(page):
    frame = page.locator("figure[data-values] .frame")
    frame.scroll_into_view_if_needed()
    box, values = frame.bounding_box(), page.evaluate(
        "JSON.parse(document.querySelector('figure[data-values]').dataset.values)"
    )  # fmt: skip
    for x, y, text, _ in values:
        page.mouse.move(box["x"] + x * box["width"] + 4, box["y"] + y * box["height"] - 4)
        assert frame.locator(".tip").inner_text().startswith(text)
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert not frame.locator(".tip").is_visible()
