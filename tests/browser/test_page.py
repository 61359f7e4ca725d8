"""The page in a real browser: it can be explored, it fits every screen, and nothing in it runs but its own program."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.compare import compare
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from tests.conftest import sampled_run

EDGES = "e => { const b = e.getBoundingClientRect(); return [b.left, b.right, b.width]; }"
HOSTILE = "<img src=x onerror=window.hit=1> $x_{$ \"'&<script>window.hit=1<"
FOLDER = "<img src=x onerror=window.hit=1>"


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished run with hostile names: its folder's, and a suite's wherever the evaluation has written it."""
    path = tmp_path_factory.mktemp("browser") / FOLDER
    run, world = (
        RunDir(sampled_run(path, "sampling.gammas=[0.1,0.5]", "evaluation.studies=[latent,completion]")),
        World(),
    )
    config = load(run.config)
    for stage in (train, evaluate):
        stage(world, run, config)
    summary = json.loads((run.evaluation / "summary.json").read_text())
    summary["suites"][HOSTILE] = summary["suites"].pop("corrupted")
    (run.evaluation / "summary.json").write_text(json.dumps(summary))
    with h5py.File(run.evaluation / "scores.h5", "r+") as file:
        for place in ("", "examples/"):
            file.move(f"{place}corrupted", place + HOSTILE)
    report(world, run, config)
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, or the one that Playwright has installed."""
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        started = playwright.chromium.launch(executable_path=found, args=flags)
        yield started
        started.close()


def visit(browser: Browser, path: Path, width: int = 1280, **options: str) -> Visit:
    """Opens a page, without any network, and waits until its figures are drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)  # type: ignore[arg-type]
    opened = Visit(context.new_page())
    opened.page.on("console", lambda m: opened.problems.append(m.text) if m.type in ("error", "warning") else None)
    opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.page.goto(path.resolve().as_uri())
    opened.page.wait_for_selector("html[data-ready]", timeout=30_000, state="attached")
    return opened


@pytest.fixture
def wide(run: RunDir, browser: Browser) -> Iterator[Visit]:
    """The page on a screen of 1280 pixels."""
    opened = visit(browser, run.report)
    yield opened
    assert not opened.problems
    opened.page.context.close()


def fits(page: Page) -> bool:
    """Nothing is wider than the screen, and no figure is too small to read."""
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure svg").count()
    for selector in ("figure svg", ".plot"):
        for box in page.locator(selector).all():
            left, right, width = box.evaluate(EDGES)
            assert left >= 0 and right <= page.viewport_size["width"] and width >= 250, selector  # type: ignore[index]
    return True


def test_hovering_shows_another_configuration(wide: Visit) -> None:
    page = wide.page
    told, picture = page.locator("#told"), page.locator("#picture")
    assert "position error" in told.inner_text() and " σ" in told.inner_text()
    seen = {(told.inner_text(), picture.screenshot())}
    places = page.evaluate("""() => {
        const view = window.ljVae.plots.plane, points = view.model.document.get_model_by_name("points").data;
        const box = view.el.getBoundingClientRect(), frame = view.frame;
        return [0, 1, 2].map((i) => [
            box.left + frame.x_scale.compute(points.x[i]), box.top + frame.y_scale.compute(points.y[i]),
        ]);
    }""")
    for x, y in places:
        page.mouse.move(x, y)
        page.wait_for_timeout(150)
        seen.add((told.inner_text(), picture.screenshot()))
    assert len({text for text, _ in seen}) >= 3 and len({image for _, image in seen}) >= 3


def test_axes_colours_and_layers(wide: Visit) -> None:
    page = wide.page
    shown = "window.ljVae.plots.plane.model.document.get_model_by_name('points').data"
    before = page.evaluate(f"[{shown}.x.length, {shown}.x[0], {shown}.color[0]]")
    page.locator("#layers input").nth(1).check()
    assert page.evaluate(f"{shown}.x.length") > before[0]
    page.get_by_text("only normal").click()
    assert page.evaluate(f"{shown}.x.length") == before[0]
    page.locator("#axis-x").select_option(index=2)
    page.locator("#colour").select_option(label="U (ε)")
    after = page.evaluate(f"[{shown}.x.length, {shown}.x[0], {shown}.color[0]]")
    assert after[0] == before[0] and after[1] != before[1]
    assert page.locator("#scale-low").inner_text() != page.locator("#scale-high").inner_text()
    first = page.locator("#histogram").screenshot()
    page.locator("#suite").select_option(index=2)
    page.locator("#score").select_option(index=1)
    assert page.locator("#histogram").screenshot() != first


def test_the_table_is_sorted_by_a_click(wide: Visit) -> None:
    table = wide.page.locator("#anomaly-detection table")
    column = "rows => rows.map(r => Number(r.cells[2].dataset.value))"
    head = table.locator("thead button").nth(2)
    head.click()
    falling = table.locator("tbody tr").evaluate_all(column)
    head.click()
    rising = table.locator("tbody tr").evaluate_all(column)
    assert falling == sorted(falling, reverse=True) and rising == sorted(rising) and rising != falling
    assert table.locator("thead th").nth(2).get_attribute("aria-sort") == "ascending"
    table.locator("thead button").first.click()  # names
    meanings = dict(text.split("\n", 1) for text in table.locator("tbody th").all_inner_texts())
    assert set(meanings) == {"gamma_3", "soft", "uniform", "corrupted_mild", HOSTILE}
    assert meanings["gamma_3"] == "γ = 3, which was not trained"


def test_means_are_sorted_by_their_numbers_and_what_is_missing_comes_last(wide: Visit) -> None:
    for table, column in (("equilibrium", 1), ("equilibrium", 2), ("missing-data", 4)):
        head = wide.page.locator(f"#{table} thead button").nth(column)
        cells = wide.page.locator(f"#{table} tbody tr td:nth-child({column + 1})")
        missing = cells.all_inner_texts().count("–")
        assert (missing > 0) is (table == "missing-data")
        for falling in (True, False):
            head.click()
            texts = cells.all_inner_texts()
            shown = [float(text.split(" ±")[0]) for text in texts[: len(texts) - missing]]
            assert len(set(shown)) > 1 and shown == sorted(shown, reverse=falling)
            assert texts[len(texts) - missing :] == missing * ["–"]


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(run: RunDir, browser: Browser, width: int) -> None:
    opened = visit(browser, run.report, width)
    assert fits(opened.page) and not opened.problems


def test_dark_mode_and_print(run: RunDir, browser: Browser) -> None:
    opened = visit(browser, run.report, color_scheme="dark")
    page = opened.page
    brightness = "s => Math.max(...getComputedStyle(document.body)[s].match(/[0-9]+/g).slice(0, 3).map(Number))"
    assert page.evaluate(brightness, "backgroundColor") < 60 and page.evaluate(brightness, "color") > 180
    texts = page.locator("figure svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert texts == page.evaluate("getComputedStyle(document.body).color"), "figures are written in the page's colour"
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate(brightness, "backgroundColor") > 240 and not page.locator("nav").is_visible()
    assert page.pdf().startswith(b"%PDF") and not opened.problems


def test_no_name_becomes_a_part_of_the_page(wide: Visit, run: RunDir) -> None:
    page = wide.page
    assert page.locator("h1").inner_text() == FOLDER
    assert HOSTILE in page.locator("#layers").inner_text()
    page.locator("#suite").select_option(label=HOSTILE)
    assert page.locator("#own-title").inner_text() == HOSTILE
    assert page.evaluate("window.hit") is None and page.locator("img[src=x]").count() == 0
    figures = run.report.parent / "figures"
    assert {path.suffix for path in figures.iterdir()} == {".svg", ".csv"} and len(list(figures.glob("roc_*.svg"))) == 5


def test_runs_side_by_side(run: RunDir, browser: Browser, tmp_path: Path) -> None:
    target = tmp_path / "compare.html"
    compare(World(), [run.path, run.path], target, False)
    opened = visit(browser, target, 390)
    assert fits(opened.page) and not opened.problems
    heads = opened.page.locator("#anomaly-detection thead th").all_inner_texts()
    assert (
        "no difference beyond the intervals on 5 of 5 suites"
        in opened.page.locator("#anomaly-detection .conclusion").inner_text()
    )
    assert heads == ["suite", "ceiling", FOLDER, f"{FOLDER} (2)", "verdict"]
    assert opened.page.evaluate("window.hit") is None
