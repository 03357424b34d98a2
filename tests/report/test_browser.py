"""The page in a real browser: what is drawn, by slider, toggles and keys, and that nothing is fetched."""

import pytest

from mmcell.coco.cells import cells_of, true_cells
from mmcell.coco.truth import load_truth
from mmcell.evaluation import find_overlap, match_cells
from mmcell.report.page import write_report

pytest.importorskip('selenium', reason='selenium is not installed')

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

STATES = ('hits', 'wrong', 'alarms', 'misses')


class Viewer:
    """The open page, by what a user sees and does."""

    def __init__(self, driver, path):
        self.driver = driver
        driver.get(path.as_uri())
        self.canvas = driver.find_element(By.ID, 'canvas')

    def slide(self, score):
        self.driver.execute_script(
            "const s = document.getElementById('score'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            score,
        )

    def counts(self):
        numbers = [element.text for element in self.driver.find_elements(By.CSS_SELECTOR, '#states output')]
        return dict(zip(STATES, map(int, numbers)))

    @property
    def drawn(self):
        return int(self.canvas.get_attribute('data-drawn'))

    def click(self, identifier):
        self.driver.find_element(By.ID, identifier).click()

    def pixels(self):
        """A digest of the canvas, and how many of its pixels anything is drawn on, once it has come to rest."""
        return self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            setTimeout(() => requestAnimationFrame(() => {
              const canvas = document.getElementById('canvas');
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let digest = 0, inked = 0;
              for (let i = 0; i < data.length; i += 4) {
                if (data[i + 3]) inked += 1;
                digest = (digest * 31 + data[i] + 7 * data[i + 1] + 13 * data[i + 2] + data[i + 3]) % 1000000007;
              }
              done([digest, inked]);
            }), 250);
        """)


@pytest.fixture
def viewer(browser, dataset, tmp_path):
    path = write_report(dataset.results, tmp_path / 'report.html', truth=dataset.truth, score_thr=0.3)
    return Viewer(browser, path)


def test_slider_changes_what_is_drawn(viewer, dataset):
    truth = load_truth(dataset.truth)
    _, true, _ = next(true_cells(truth))
    _, predicted = next(cells_of(dataset.results, truth.images, truth.categories))
    matches = match_cells(find_overlap(true, predicted))
    seen = []
    for score in (0, 0.3, 0.5, 0.6, 0.75, 1):
        viewer.slide(score)
        expected = matches.counts(predicted.scores, score)
        assert viewer.counts() == expected
        assert viewer.drawn == sum(expected.values())
        seen.append(viewer.pixels()[0])
    # 0.5 is the score of a false alarm, which goes at the next step only; the result below 0.3 is of the same cell.
    assert len(set(seen)) == len(seen) - 2
    assert seen[0] == seen[1] == seen[2]


def test_toggles(viewer):
    viewer.slide(0)
    assert viewer.drawn == 6
    viewer.click('class-1')
    assert viewer.drawn == 4
    assert viewer.counts() == {'hits': 1, 'wrong': 1, 'alarms': 1, 'misses': 1}
    viewer.click('state-2')
    assert viewer.drawn == 3
    viewer.click('state-4')  # the true outlines of the cells that were found: the ring and the neutrophil
    assert viewer.drawn == 5


def test_only_what_is_asked_for_is_inked(viewer):
    _, everything = viewer.pixels()
    viewer.click('picture')
    _, outlines = viewer.pixels()
    assert 0 < outlines < everything / 2
    for state in range(4):
        viewer.click(f'state-{state}')
    assert viewer.pixels()[1] == 0
    assert viewer.drawn == 0


def test_keys(viewer):
    fitted = viewer.pixels()[0]
    viewer.canvas.send_keys('+')
    near = viewer.pixels()[0]
    assert near != fitted
    viewer.canvas.send_keys('\ue012')  # arrow to the left
    assert viewer.pixels()[0] != near
    viewer.canvas.send_keys('0')
    assert viewer.pixels()[0] == fitted
    told = []
    for _ in range(4):
        viewer.canvas.send_keys('e')
        told.append(viewer.driver.find_element(By.ID, 'info').text)
    # From the left in each band of 64 pixels, and round again.
    assert told[0] == 'Missed, neutrophil, at 21, 66'
    assert told[1].startswith('Wrong class, macrophage, truth neutrophil, score 0.600, IoU 0.')
    what = 'False alarm, epithelial, score 0.500, at 97, 23'
    assert told[2] == f'{what}. Probabilities: epithelial 50 %, none of these 50 %'
    assert told[3] == told[0]


def test_another_image(viewer):
    viewer.driver.find_element(By.CSS_SELECTOR, '[data-image="2"]').click()
    assert viewer.canvas.accessible_name == 'Cells of train/2/image.png'
    assert viewer.counts() == {'hits': 1, 'wrong': 0, 'alarms': 1, 'misses': 1}


def test_summary_is_announced(viewer):
    viewer.slide(0.75)
    summary = viewer.driver.find_element(By.ID, 'summary')
    assert summary.aria_role == 'status'
    text = 'At score 0.75: hit 2, wrong class 0, false alarm 0, missed 3.'
    WebDriverWait(viewer.driver, 5).until(lambda _: summary.text == text)


def test_every_control_has_a_name(viewer):
    controls = viewer.driver.find_elements(By.CSS_SELECTOR, 'button, input, select, canvas, [role=region], svg[role]')
    assert len(controls) > 15
    assert all(control.accessible_name for control in controls)


def test_without_truth(browser, dataset, tmp_path):
    viewer = Viewer(browser, write_report(dataset.results, tmp_path / 'report.html', images=dataset.truth))
    viewer.slide(0.5)
    assert viewer.drawn == 5


def test_nothing_is_fetched(viewer, requests_of):
    viewer.pixels()
    assert requests_of(viewer.driver) == [viewer.driver.current_url]
    errors = [entry for entry in viewer.driver.get_log('browser') if entry['level'] == 'SEVERE']
    assert errors == []


def test_nothing_could_be_fetched(viewer):
    """The page's own policy refuses what a mistake in it might ask for."""
    viewer.driver.execute_script("new Image().src = 'http://127.0.0.1:9/image.png'")
    WebDriverWait(viewer.driver, 5).until(
        lambda driver: any('Content Security Policy' in entry['message'] for entry in driver.get_log('browser'))
    )
