"""A real browser for the tests of pages."""

import json
import shutil

import pytest

FLAGS = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
    '--disable-component-update --disable-sync --window-size=1400,1000'
).split()


@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    chromium, chromedriver = shutil.which('chromium'), shutil.which('chromedriver')
    if not chromium or not chromedriver:
        pytest.skip('chromium and chromedriver are not installed')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("profile")}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def requests_of():
    """Gives the addresses that the open page asked for; the browser's own pages stand in its log as well."""

    def addresses(driver):
        page = driver.current_url
        messages = [json.loads(entry['message'])['message'] for entry in driver.get_log('performance')]
        sent = [message['params'] for message in messages if message['method'] == 'Network.requestWillBeSent']
        urls = [request['request']['url'] for request in sent if request['documentURL'] == page]
        return [url for url in urls if not url.startswith('data:')]

    return addresses
