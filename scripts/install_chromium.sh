#!/bin/sh
# Install Chromium for the tests of the page, where it is missing and the system lets us.
set -eu
if command -v chromium >/dev/null 2>&1 || [ -n "${FINECUT_CHROMIUM:-}" ]; then
    exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if command -v apt-get >/dev/null 2>&1; then
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "Chromium is missing: install it, or set FINECUT_CHROMIUM to its path." >&2
    exit 1
fi
