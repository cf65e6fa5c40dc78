"""The page in headless Chromium with a real upload: the answer shows, no errors, no barrier."""

import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="make install brings playwright")
pytest.importorskip("fastapi", reason="pip install 'dermssl[app]' brings it")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
SERIOUS = ("serious", "critical")

from served import served  # noqa: E402

from dermssl.studies.app import answer, page, server  # noqa: E402


@pytest.fixture(scope="module")
def tab(finetuned):
    """The page of the tiny run, served to a browser by a real server."""
    answerer = answer.load(finetuned)
    files = page.render(answerer.taxonomy, answerer.model.run, server.MAX_BYTES)
    app = server.create(answerer, files, answerer.model)
    with served(app) as port, sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.base, tab.answerer = f"http://127.0.0.1:{port}/", answerer
        tab.seen, tab.asked = [], []
        tab.on("console", lambda message: tab.seen.append(message.text))
        tab.on("pageerror", lambda error: tab.seen.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto(tab.base)
        yield tab
        browser.close()


def upload(tab, file):
    tab.set_input_files("#photo", file)
    tab.locator("#answer h2").wait_for()


def test_a_photo_gets_its_answer(tab, photos):
    file = photos / "images" / "SYN_000003.jpg"
    upload(tab, str(file))
    expected, taxonomy = tab.answerer(file.read_bytes()), tab.answerer.taxonomy
    named = taxonomy.titles[taxonomy.fine.index(expected.fine)]
    assert tab.locator("#answer h2").inner_text() == named
    assert tab.locator("#status").inner_text() == ""
    shown = tab.locator(".tree ul .row").all_inner_texts()
    p = sorted(expected.probabilities.fine.values(), reverse=True)
    assert len(shown) == len(p) == 7
    assert f"{100 * p[0]:.1f}%" in " ".join(shown)
    assert len(tab.locator(".tree > li").all()) == 4
    pictures = tab.locator(".pictures img")
    assert pictures.count() == 2 + 3  # what was seen, the heat map, three similar lesions
    assert pictures.evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    assert "Research software: not for diagnosis." in tab.locator("main").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.seen == []
    assert [url for url in tab.asked if not url.startswith((tab.base, "data:"))] == []


def test_a_photo_may_be_dropped(tab, photos):
    data = (photos / "images" / "SYN_000004.jpg").read_bytes()
    tab.evaluate(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "x.jpg", { type: "image/jpeg" }));
            document.querySelector("#answer").replaceChildren();
            document.body.dispatchEvent(
              new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(data),
    )
    tab.locator("#answer h2").wait_for()
    assert tab.seen == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tab, photos, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab.emulate_media(color_scheme=scheme)
    upload(tab, str(photos / "images" / "SYN_000003.jpg"))
    violations = axe.run(tab).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in SERIOUS] == []


def test_what_is_no_photo_is_said_in_a_sentence(tab, photos, tmp_path):
    upload(tab, str(photos / "images" / "SYN_000003.jpg"))
    page_ = tmp_path / "page<i>.jpg"
    page_.write_text("<html><script>alert(1)</script></html>")
    tab.set_input_files("#photo", str(page_))
    status = tab.locator("#status", has_text="No answer")
    status.wait_for()
    assert "the file can't be used as a photo: looks like HTML or XML" in status.inner_text()
    assert not tab.locator("#answer").is_visible()
    large = tmp_path / "large.bmp"
    with open(large, "wb") as file:
        file.truncate(21 * 2**20)
    before = len(tab.asked)
    tab.set_input_files("#photo", str(large))
    tab.locator("#status", has_text="over 20 MB").wait_for()
    assert len(tab.asked) == before  # nothing is sent
