"""The explorer's page in a real browser: headless Chromium, driven by selenium."""

import shutil
import sys
import threading

import numpy as np
import pytest
from conftest import prepare

from recbole_sparse_elsa.explorer import Explorer, ExplorerServer, static_page_html
from recbole_sparse_elsa.runs import SavedRun
from recbole_sparse_elsa.segments import homepage, name_segments, read_item_file, segment_catalogue

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
WIDTHS = {"laptop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    """A model trained for a few epochs on MovieLens-100k, which RecBole ships with titles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("explorer"))
        patch.setattr(sys, "argv", ["pytest"])
        run = prepare("SparseELSA", "ml-100k", embedding_size=64, k=8, epochs=10, stage_epochs=1, train_batch_size=256)
        run.trainer.fit(run.train_data)
        run.trainer.tensorboard.close()
        source = SavedRun(run.trainer.saved_model_file)
        histories = source.histories  # read here, where RecBole may write its logs
    index = source.index
    segments = segment_catalogue(index.item_embeddings, index.item_tokens, 12, popularity=index.popularity)
    segments = name_segments(segments, read_item_file(source.item_file, index.item_tokens))
    accuracy = [
        {"dataset": "ml-100k", "metric": "ndcg@100", "smaller_is_better": False, "method": method, **point}
        for method, point in (
            ("SparseELSA", {"name": "SparseELSA, k=8", "bytes": 64.0, "mean": 0.40, "sd": 0.01}),
            ("SparseELSA", {"name": "SparseELSA, k=32", "bytes": 256.0, "mean": 0.44, "sd": None}),
            ("EASE", {"name": "EASE", "bytes": 6728.0, "mean": 0.45, "sd": None}),
        )
    ]
    return Explorer(index, segments, histories, source.dataset, accuracy, {"validation NDCG@100": 0.4125})


@pytest.fixture(scope="module")
def url(explorer):
    with ExplorerServer(port=0) as server:
        server.explorer = explorer
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def driver():
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromedriver was found; on Debian: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Without a sandbox, since containers have none; without a network, which the page must not need.
    no_network = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", no_network):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=list(WIDTHS))
def page(request, driver, url):
    """The page at one of two widths, empty before; whatever is shown, the console must stay empty."""
    resize(driver, WIDTHS[request.param])
    driver.get("about:blank")
    driver.get_log("browser")
    yield driver
    assert driver.get_log("browser") == []
    # Nothing is wider than the window.
    assert driver.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0


def resize(driver, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(driver, condition):
    return WebDriverWait(driver, 20).until(lambda _: condition())


def texts(driver, selector):
    # innerText is what is shown; all at once, so that no element is gone meanwhile.
    return driver.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)


def shown_recommendations(driver):
    script = "return [...document.querySelectorAll('#recommendations > li')].map(e => e.dataset.item)"
    return driver.execute_script(script)


def until_recommended(driver, expected):
    until(driver, lambda: shown_recommendations(driver) == expected)


def until_more(driver, selector, n):
    until(driver, lambda: len(texts(driver, selector)) > n)


def type_in(driver, label, text):
    """Type a text into a field with completion, and take the first that is offered."""
    (field,) = driver.find_elements(By.XPATH, f"//input[@id = //label[contains(., '{label}')]/@for]")
    field.click()
    field.send_keys(text)
    until(driver, lambda: all(text.lower() in option.lower() for option in texts(driver, "[role=option]") or [""]))
    field.send_keys(Keys.ARROW_DOWN, Keys.ENTER)


def test_items_that_are_typed_in_are_recommended_from(page, url, explorer):
    index, segments = explorer.index, explorer.segments
    page.get(url)
    until(page, lambda: shown_recommendations(page))
    history = []
    for title, token in (("Toy Story", "1"), ("Star Wars", "50"), ("Fargo", "100")):
        type_in(page, "an item" if history else "type in items", title)
        history.append(token)
        assert segments.tree.label(index.position(token)) == title
        expected = index.recommend(history, 20)
        expected = expected.items[expected.scores > 0].tolist()
        until_recommended(page, expected)
        assert len(texts(page, "#history li")) == len(history)
    rows = homepage(index, segments, history, 6, 12).rows
    assert texts(page, "#homepage h3") == [row.name for row in rows]
    for place, row in enumerate(rows, start=1):
        items = texts(page, f"#homepage section:nth-of-type({place}) li")
        assert [item.split("\n")[0] for item in items] == row.labels
    # The first recommendation with its reasons.
    page.find_element(By.CSS_SELECTOR, "#recommendations summary").click()
    explanation = index.explain(history, expected[0])
    parts = texts(page, "#recommendations > li:first-child .parts > div:first-child tr")
    labels = [segments.tree.label(index.position(token)) for token in explanation.history_items]
    assert [part.split("\t")[0].strip() for part in parts] == labels
    values = [float(part.split()[-1].replace("−", "-")) for part in parts]
    np.testing.assert_allclose(values, explanation.history_parts, atol=6e-4)
    # One item is taken out again.
    page.find_element(By.CSS_SELECTOR, "#history button[aria-label='Remove Star Wars']").click()
    expected = index.recommend(["1", "100"], 20)
    expected = expected.items[expected.scores > 0].tolist()
    until(page, lambda: shown_recommendations(page) == expected)
    page.back()
    until(page, lambda: len(texts(page, "#history li")) == 3)


def test_a_user_of_the_data_is_chosen(page, url, explorer):
    index = explorer.index
    page.get(url)
    until(page, lambda: shown_recommendations(page))
    type_in(page, "Choose a user", "405")
    expected = index.recommend(list(explorer.histories["405"]), 20).items.tolist()
    until(page, lambda: shown_recommendations(page) == expected)
    history = len(set(explorer.histories["405"]))
    assert f"History: {history} items" in texts(page, "main")[0]
    # The plot: the user's strongest dimensions lead to their posting lists.
    user_vector = index.user_vector(list(explorer.histories["405"]))
    strongest = np.argsort(-np.abs(user_vector), kind="stable")
    n_columns = 24 if page.execute_script("return innerWidth") > 600 else 14
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#dimensions-plot"))
    headings = page.execute_script(
        "return [...document.querySelectorAll('#dimensions-plot > a')].map(e => e.textContent.trim())"
    )
    assert headings == [str(dimension) for dimension in strongest[:n_columns]]
    page.execute_script("document.querySelector('#dimensions-plot > a').dispatchEvent(new MouseEvent('click'))")
    until(page, lambda: f"Dimension {strongest[0]}" in texts(page, "h2"))


def test_a_segment_is_picked(page, url, explorer):
    page.get(f"{url}#segments")
    until(page, lambda: texts(page, "#segments li"))
    segment = explorer.segments[1]
    assert texts(page, "#segments a") == [segment.name for segment in explorer.segments]
    page.find_elements(By.CSS_SELECTOR, "#segments a")[1].click()
    until(page, lambda: texts(page, "h2") == [segment.name])
    shown = texts(page, "#items li")
    while len(shown) < segment.size:
        assert shown == segment.item_labels[: len(shown)]
        n_before = len(shown)
        more = page.find_element(By.XPATH, "//button[text() = 'Show more']")
        page.execute_script("arguments[0].click()", more)
        until_more(page, "#items li", n_before)
        shown = texts(page, "#items li")
    assert shown == segment.item_labels
    # Which of its dimensions there are, and what the posting list of the first holds.
    dimension = segment.factors[0][0]
    page.find_element(By.CSS_SELECTOR, f"a[href='#dimension/{dimension}']").click()
    until(page, lambda: texts(page, "h2") == [f"Dimension {dimension}"])
    column = explorer.index.item_embeddings[:, [dimension]].toarray().ravel()
    places = np.argsort(-np.abs(column), kind="stable")[: min(100, np.count_nonzero(column))]
    rows = [row.split("\t") for row in texts(page, "#items tr")]
    assert [row[0].strip() for row in rows] == [explorer.segments.tree.label(place) for place in places]
    weights = [float(row[-1].replace("−", "-")) for row in rows]
    np.testing.assert_allclose(weights, column[places], atol=6e-4)


def test_all_dimensions_are_listed_by_their_top_items(page, url, explorer):
    page.get(f"{url}#dimensions")
    until(page, lambda: texts(page, "#dimensions li"))
    columns = explorer.index.item_embeddings.toarray().T
    sizes = np.count_nonzero(columns, axis=1)
    shown = [line.split("\n")[0] for line in texts(page, "#dimensions > li")]
    places = sorted(np.flatnonzero(sizes), key=lambda dimension: -sizes[dimension])
    for line, dimension in zip(shown, places, strict=True):
        best, worst = (explorer.segments.tree.label(place(columns[dimension])) for place in (np.argmax, np.argmin))
        # On a narrow page the number stands below the name.
        assert line.startswith(f"{best} ↔ {worst}")
    numbers = texts(page, "#dimensions > li > span")
    assert numbers == [f"dimension {dimension}, {sizes[dimension]} items" for dimension in places]


def test_dimensions_are_searched_and_sorted(page, url, explorer):
    page.get(f"{url}#dimensions")
    until(page, lambda: texts(page, "#dimensions li"))
    every = [found["name"] for found in explorer.dimensions()["dimensions"]]
    page.find_element(By.CSS_SELECTOR, "#order option:nth-child(4)").click()  # by number
    assert texts(page, "#dimensions a") == every
    page.find_element(By.CSS_SELECTOR, "#order option:nth-child(3)").click()  # by name
    script = "return [...arguments[0]].sort((one, other) => one.localeCompare(other))"
    assert texts(page, "#dimensions a") == page.execute_script(script, every)
    title = explorer.dimensions()["dimensions"][7]["negative"][1]
    page.find_element(By.ID, "search").send_keys(title.upper())
    expected = [
        found["name"]
        for found in explorer.dimensions()["dimensions"]
        if any(title.lower() in label.lower() for label in found["positive"] + found["negative"])
    ]
    assert sorted(texts(page, "#dimensions a")) == sorted(expected) and expected
    assert f"{len(expected)} of {len(every)} dimensions" in texts(page, "main")[0]


def test_bars_go_to_both_sides(page, url, explorer):
    page.get(f"{url}#dimension/7")
    until(page, lambda: texts(page, "#items tr"))
    script = """return [...document.querySelectorAll('#items tr')].map(row => {
      const cell = row.children[1], bar = cell.firstChild.getBoundingClientRect(), box = cell.getBoundingClientRect();
      const middle = box.left + parseFloat(getComputedStyle(cell).paddingLeft)
        + (box.width - 2 * parseFloat(getComputedStyle(cell).paddingLeft)) / 2;
      return [row.children[2].innerText, bar.left - middle, bar.right - middle, box.width];
    })"""
    rows = page.execute_script(script)
    assert {text[0] for text, *_ in rows} == {"+", "−"}
    for text, left, right, width in rows:
        at_zero, outer = (left, right) if text[0] == "+" else (right, -left)
        assert abs(at_zero) < 1.5 and 0 < outer <= width / 2
    # The first has the largest weight.
    assert abs(rows[0][2] - rows[0][1]) == max(right - left for _, left, right, _ in rows)


def test_the_header_tells_the_model_its_size_and_its_figures(page, url, explorer):
    page.get(url)
    until(page, lambda: shown_recommendations(page))
    header = texts(page, "header")[0]
    n_items, n_nonzeros = explorer.index.n_items, explorer.index.n_nonzeros
    assert explorer.index.made_by in header
    for said in (
        f"{n_nonzeros / n_items:.1f} non-zeros and {8 * n_nonzeros / n_items:.0f} bytes an item",
        "validation NDCG@100 0.412",
    ):
        assert said in header


def test_the_chosen_user_stands_in_its_field(page, url):
    page.get(url)
    until(page, lambda: shown_recommendations(page))
    type_in(page, "Choose a user", "405")
    until(page, lambda: texts(page, "h2")[0] == "User 405")
    field = page.find_element(By.CSS_SELECTOR, "input[role=combobox]")
    assert field.get_property("value") == "405"
    # Typing replaces it, and what is left half typed goes.
    field.click()
    field.send_keys("11")
    assert field.get_property("value") == "11"
    field.send_keys(Keys.TAB)
    assert field.get_property("value") == "405"


def test_rows_of_the_homepage_are_of_equal_height_with_year_and_genre(page, url, explorer):
    page.get(f"{url}#user/405")
    until(page, lambda: texts(page, "#homepage section"))
    script = "return [...document.querySelectorAll('#homepage section')].map(e => e.getBoundingClientRect().height)"
    heights = page.execute_script(script)
    assert len(heights) == 6 and max(heights) - min(heights) < 1
    script = """const bottom = element => element.getBoundingClientRect().bottom;
      return [...document.querySelectorAll('#homepage li')].filter(card =>
        [...card.children].some(part => bottom(part) > bottom(card))).length"""
    assert page.execute_script(script) == 0
    tree, (first, *_) = explorer.segments.tree, explorer.user("405")["homepage"]
    shown = texts(page, "#homepage section:first-child li .detail")
    details = [tree.detail(explorer.index.position(item["token"])) for item in first["items"]]
    assert shown == [detail for detail in details if detail]
    assert all(detail.split(" · ")[0].isdigit() for detail in shown)


def test_accuracy_against_size(page, url):
    page.get(f"{url}#accuracy")
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#accuracy-plot circle"))
    script = "return [...document.querySelectorAll('#accuracy-plot title')].map(e => e.textContent)"
    titles = page.execute_script(script)
    assert titles == [
        "SparseELSA, k=8: 0.4000, 64 bytes",
        "SparseELSA, k=32: 0.4400, 256 bytes",
        "EASE: 0.4500, 6,728 bytes",
    ]
    assert texts(page, "table.figures tbody tr")[0].split("\t") == ["SparseELSA, k=8", "64", "0.4000 ± 0.0100"]


@pytest.mark.parametrize(
    "address, said",
    [("user/nobody", "has no user 'nobody'"), ("segment/99", "segment is 99"), ("items/x", "no item")],
)
def test_what_does_not_exist_is_said(driver, url, address, said):
    driver.get("about:blank")
    driver.get(f"{url}#{address}")
    until(driver, lambda: said in " ".join(texts(driver, "[role=alert]")))


def test_light_and_dark(driver, url):
    seen = []
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        driver.get(url)
        seen.append(driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    light, dark = (sum(map(int, colour.removeprefix("rgba(").split(",")[:3])) for colour in seen)
    assert light > 600 and dark < 150


def test_the_static_page_works_from_a_file(page, explorer, tmp_path):
    static = Explorer(
        *(explorer.index, explorer.segments, explorer.histories, explorer.dataset, explorer.accuracy),
        example_users=["1", "405"],
        items_per_page=5,
    )
    (tmp_path / "index.html").write_text(static_page_html(static), encoding="utf-8")
    page.get(f"file://{tmp_path}/index.html")
    expected = explorer.index.recommend(list(explorer.histories["1"]), 20).items.tolist()
    until(page, lambda: shown_recommendations(page) == expected)
    type_in(page, "Choose a user", "405")
    expected = explorer.index.recommend(list(explorer.histories["405"]), 20).items.tolist()
    until(page, lambda: shown_recommendations(page) == expected)
    assert "type in items" not in texts(page, "main")[0]
    page.find_element(By.CSS_SELECTOR, "nav a[href='#segments']").click()
    until(page, lambda: texts(page, "#segments a"))
    page.find_elements(By.CSS_SELECTOR, "#segments a")[0].click()
    segment = explorer.segments[0]
    until(page, lambda: texts(page, "#items li") == segment.item_labels[:5])
    assert f"5 of {segment.size} items" in texts(page, "main")[0]
    page.find_element(By.CSS_SELECTOR, "nav a[href='#dimensions']").click()
    names = [found["name"] for found in static.dimensions()["dimensions"]]
    until(page, lambda: sorted(texts(page, "#dimensions a")) == sorted(names))
