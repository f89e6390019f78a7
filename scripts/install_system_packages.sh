#!/bin/sh
# Install what the tests need of the system, where it is missing and the system lets us: Chromium for
# the page, and the libGL that OpenCV (RapidOCR's) loads.
set -eu
wanted=""
if ! command -v chromium >/dev/null 2>&1 && [ -z "${FINECUT_CHROMIUM:-}" ]; then
    wanted="chromium"
fi
for library in libGL.so.1:libgl1 libgthread-2.0.so.0:libglib2.0-0; do
    if ! ldconfig -p 2>/dev/null | grep -q "${library%%:*}"; then
        wanted="$wanted ${library##*:}"
    fi
done
if [ -z "$wanted" ]; then
    exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if command -v apt-get >/dev/null 2>&1; then
    $as_root apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $wanted >/dev/null
else
    echo "Missing are: $wanted. Install them (for Chromium, FINECUT_CHROMIUM may name its path)." >&2
    exit 1
fi
