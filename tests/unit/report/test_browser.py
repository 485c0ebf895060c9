"""The report in a browser: Chromium, without a window and without a network."""

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from tests.browser import open_page, requests_of

# A cell with a picture, away from the edges, as its row and the position on the screen.
FIND_CELL = """
const done = arguments[0];
explorerReady.then((explorer) => {
  const { width, height } = explorer.size();
  const inside = ([x, y]) => x > 60 && y > 60 && x < width - 60 && y < height - 60;
  const row = [...explorer.order].find(
    (row) => explorer.cells.picture[row] >= 0 && inside(explorer.toPixels(row)));
  explorer.part.stage.scrollIntoView({ behavior: "instant", block: "center" });
  const box = explorer.part.stage.getBoundingClientRect();
  const [x, y] = explorer.toPixels(row);
  done([box.left + x + 1, box.top + y + 1]);
});
"""


@pytest.fixture(scope="module")
def browser(made, tmp_path_factory):
    with open_page(made.page, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def element(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def hover_a_cell(browser):
    x, y = browser.execute_async_script(FIND_CELL)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
    actions.perform()


def center(browser, shown):
    """Scroll it to the middle of the window, at once: the page itself glides there."""
    browser.execute_script(
        "arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", shown
    )


def click(browser, button):
    """Click in the middle of the window, where no heading that stays in place covers it."""
    center(browser, button)
    button.click()


def test_the_page_asks_for_itself_alone_and_reports_no_error(made, tmp_path):
    with open_page(made.page, tmp_path / "profile") as opened:
        hover_a_cell(opened)
        assert requests_of(opened) == [made.page.resolve().as_uri()]
        assert opened.get_log("browser") == []
        images = "return [...document.images].map((i) => [i.complete, i.naturalWidth > 0])"
        shown = opened.execute_script(images)
        assert len(shown) > len(made.plan.figures)
        assert all(complete and wide for complete, wide in shown)


def test_pointing_at_a_cell_shows_it_with_its_track_and_hour(browser):
    assert not element(browser, "#explorer-tip").is_displayed()
    hover_a_cell(browser)
    image = element(browser, "#explorer-tip img")
    assert image.is_displayed()
    browser.execute_async_script("arguments[0].decode().then(arguments[1])", image)
    assert browser.execute_script("return arguments[0].naturalWidth", image) == 48
    text = element(browser, "#explorer-tip").text
    assert "track" in text
    assert " h\n" in text
    assert "Cell: " in image.get_attribute("alt")
    assert browser.find_elements(By.CSS_SELECTOR, "#explorer-side .strip img")


def test_a_selection_is_described(browser):
    click(browser, element(browser, "#explorer-lasso"))
    stage = element(browser, "#explorer-stage")
    center(browser, stage)
    width, height = stage.size["width"], stage.size["height"]
    drag = ActionChains(browser).move_to_element_with_offset(
        stage, -width // 2 + 5, -height // 2 + 5
    )
    drag = drag.click_and_hold()
    for x, y in ((width - 10, 0), (0, height - 10), (10 - width, 0)):
        drag = drag.move_by_offset(x, y)
    drag.release().perform()
    click(browser, element(browser, "#explorer-move"))
    n_cells = browser.execute_async_script("explorerReady.then((e) => arguments[0](e.cells.n))")
    heading = element(browser, "#explorer-side h3").text
    assert heading.endswith("cells selected")
    assert int(heading.split()[0]) > 0.9 * n_cells
    assert element(browser, "#explorer-side a").get_attribute("download") == "cells.csv"


def test_the_map_moves_zooms_and_steps_by_keyboard(browser):
    view = "return explorerReady.then((e) => [e.center[0], e.scale[0], e.pinned])"
    stage = element(browser, "#explorer-stage")
    stage.send_keys("0")
    before = browser.execute_script(view)
    stage.send_keys(Keys.ARROW_RIGHT, "+")
    moved = browser.execute_script(view)
    assert moved[0] > before[0]
    assert moved[1] > before[1]
    stage.send_keys("0", Keys.ENTER)
    pinned = browser.execute_script(view)[2]
    assert pinned >= 0
    # Back to the beginning of its track, then one on.
    stage.send_keys("p" * 10)
    first = browser.execute_script(view)[2]
    assert first <= pinned
    stage.send_keys("n")
    assert browser.execute_script(view)[2] == first + 1


def test_colours_change_the_picture_and_hidden_ones_leave_it(browser):
    pixels = """
    return explorerReady.then((e) => {
      e.drawPoints();
      return e.pixels.reduce((n, p) => n + (p > 0), 0);
    });
    """
    select = element(browser, "#explorer-color")
    for option in select.find_elements(By.TAG_NAME, "option"):
        option.click()
        assert element(browser, "#explorer-legend li")
    select.find_element(By.XPATH, "option[text()='condition']").click()
    whole = browser.execute_script(pixels)
    click(browser, element(browser, "#explorer-legend button"))
    assert 0 < browser.execute_script(pixels) < whole


def test_lineages_are_drawn_with_their_axes_and_hours(browser):
    maps = element(browser, "#explorer-map")
    for option in maps.find_elements(By.TAG_NAME, "option"):
        option.click()
        shown = browser.execute_script("return explorerReady.then((e) => e.map.labels)")
        cards = browser.find_elements(By.CSS_SELECTOR, "#lineage-cards .card")
        assert cards
        for card in cards:
            axes = card.find_element(By.CSS_SELECTOR, ".axes").get_attribute("textContent")
            assert axes.startswith(f"{shown[0]} →   {shown[1]} ↑   dark: ")
            assert axes.endswith(" h")
            assert card.find_elements(By.CSS_SELECTOR, ".strip img")


def test_tables_sort_in_both_directions(browser):
    button = element(browser, "#experiments th[data-name='cells'] button")
    cells = """
    const rows = document.querySelector('#experiments .table tbody').rows;
    return [...rows].map((row) => Number(row.cells[2].dataset.key));
    """
    click(browser, button)
    rising = browser.execute_script(cells)
    assert rising == sorted(rising)
    button.click()
    assert browser.execute_script(cells) == rising[::-1]
    header = element(browser, "#experiments th[data-name='cells']")
    assert header.get_attribute("aria-sort") == "descending"


def test_filters_leave_the_chosen_rows(browser):
    shown = """
    return [...document.querySelectorAll('#scores .table')].map((block) =>
      [...block.querySelector('tbody').rows].filter((r) => !r.hidden).map((r) => r.innerText));
    """
    classifiers, *others = browser.execute_script(shown)
    assert classifiers
    assert all("auroc" in row and "held_out" in row for row in classifiers)
    rest = [row for rows in others for row in rows]
    assert {"ilisi" in row for row in rest} == {True, False}


def test_scatter_shows_one_score_against_another(browser):
    across, up, features = browser.find_elements(By.CSS_SELECTOR, "#scatter select")
    assert across.get_attribute("value").startswith("iLISI")
    assert up.get_attribute("value") == "AUROC, response, held out"
    points = (
        "return [...document.querySelectorAll('#scatter circle title')].map((t) => t.textContent)"
    )
    names = [title.split(":")[0] for title in browser.execute_script(points)]
    assert names == ["small seed0", "small intensity"]
    features.find_element(By.XPATH, "option[text()='intensity']").click()
    assert len(browser.execute_script(points)) == 1


def test_the_theme_follows_the_system_and_the_switch(made, tmp_path):
    ground = "return getComputedStyle(document.body).backgroundColor"
    with open_page(made.page, tmp_path / "profile", dark=True, size=(600, 900)) as opened:
        dark = opened.execute_script(ground)
        element(opened, "#theme option[value='light']").click()
        light = opened.execute_script(ground)
        assert sum(map(int, dark[4:-1].split(","))) < 150
        assert sum(map(int, light[4:-1].split(","))) > 650
        wide = "return document.documentElement.scrollWidth <= innerWidth"
        assert opened.execute_script(wide), "narrow pages need no scrolling sideways"


def test_text_stands_out_from_its_ground_in_both_themes(browser):
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    for theme in ("light", "dark"):
        element(browser, f"#theme option[value='{theme}']").click()
        for front in ("text", "muted", "accent"):
            for back in ("ground", "surface"):
                colors = browser.execute_script(
                    "return [theme.color(arguments[0]), theme.color(arguments[1])]", front, back
                )
                assert contrast(*colors) >= 4.5, (theme, front, back)


def contrast(front, back):
    def luminance(color):
        parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(front), luminance(back)))
    return (high + 0.05) / (low + 0.05)
