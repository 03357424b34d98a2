#!/usr/bin/env bash
# Make sure that Chromium and its driver are there for the test of the report page; without them that test is skipped.
set -euo pipefail

have() { command -v "$1" >/dev/null; }

if have chromedriver && { have chromium || have google-chrome; }; then
    exit 0
fi
as_root=()
if ((EUID)); then
    as_root=(sudo -n)
fi
if have apt-get && "${as_root[@]}" true 2>/dev/null; then
    echo '==> installing chromium and chromium-driver for the test of the report page: about a minute'
    if "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; then
        exit 0
    fi
fi
echo '==> no Chromium: the test of the report page is skipped; install chromium and chromium-driver to run it'
