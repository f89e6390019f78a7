"""The writer's lease in an object store: one holder, taken over when it is dead, and only then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from finecut.errors import IndexLocked, StorageError
from finecut.storage import lease as lease_module
from finecut.storage import objects
from finecut.storage.lease import LEASE_S, MARGIN_S, Lease
from finecut.storage.location import Location


@pytest.fixture
def place(bucket: str) -> Location:
    return Location.parse(f"{bucket}/index/writer.lease")


class Clock:
    """Time that passes when somebody waits, and no sooner; ``meanwhile`` is done in each wait."""

    def __init__(self) -> None:
        self.at = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lease_module, "_now_s", made.now)
    monkeypatch.setattr(lease_module, "_sleep", made.sleep)
    return made


def from_elsewhere(place: Location) -> None:
    """Make the lease look like one of another machine, so that its process is not looked up."""
    plain, etag = objects.read_with_etag(place)
    note = json.loads(plain) | {"machine": "another"}
    objects.write_bytes(place, json.dumps(note).encode(), if_match=etag)


def test_a_second_writer_is_told_who_the_first_is(place: Location, clock: Clock):
    with Lease(place) as first:
        clock.meanwhile = first._renew
        with pytest.raises(IndexLocked, match=f"process {os.getpid()} on .* since 20"):
            Lease(place).__enter__()
        assert clock.at <= 2  # the first renewal says that its holder lives
        first.check()
    with Lease(place):  # given back: free at once
        assert clock.at <= 2


def test_a_lease_that_is_renewed_outlives_its_length(place: Location, clock: Clock):
    with Lease(place) as first:
        for _ in range(5):
            clock.sleep(LEASE_S - 1)
            assert first._renew()
            first.check()


def test_a_silent_holder_loses_it_and_knows(place: Location, clock: Clock):
    silent = Lease(place)
    assert silent.try_acquire()
    from_elsewhere(place)
    # So long its holder may still write; only then is it taken.
    clock.meanwhile = lambda: clock.at <= LEASE_S and silent.check()
    with Lease(place) as second:
        assert LEASE_S + MARGIN_S <= clock.at < LEASE_S + MARGIN_S + 2
        with pytest.raises(IndexLocked, match=r"no longer the writer of .*could not be renewed"):
            silent.check()
        silent.release()  # leaves the other's lease alone
        second.check()
        assert second._renew()


def test_a_holder_whose_lease_was_taken_finds_out_when_it_renews(place: Location, clock: Clock):
    with Lease(place) as first:
        note = json.loads(objects.read_bytes(place)) | {"token": "another", "machine": ""}
        objects.write_bytes(place, json.dumps(note).encode())
        assert not first._renew()
        with pytest.raises(IndexLocked, match="somebody else took it over"):
            first.check()
    assert json.loads(objects.read_bytes(place))["token"] == "another"


def test_a_store_that_does_not_answer_for_a_while_costs_nothing(
    place: Location, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    with Lease(place) as first:
        with monkeypatch.context() as patch:
            patch.setattr(lease_module, "write_bytes", _unreachable)
            clock.sleep(LEASE_S / 2)
            assert first._renew()  # to be tried again
            first.check()
        clock.sleep(LEASE_S / 4)
        assert first._renew()
        clock.sleep(LEASE_S - 1)
        first.check()


def _unreachable(*_: object, **__: object) -> str:
    raise StorageError("no answer")


def test_it_is_renewed_by_itself(place: Location):
    with Lease(place, renew_s=0.05):
        first = objects.stat(place).etag
        deadline = time.monotonic() + 60
        while objects.stat(place).etag == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_at_once(place: Location):
    code = (
        "import sys, time; from finecut.storage.lease import Lease; "
        "from finecut.storage.location import Location; "
        "assert Lease(Location.parse(sys.argv[1])).try_acquire(); print('held', flush=True); "
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    writes = []
    lease = Lease(place)  # of the usual length: waiting for it would take 40 seconds
    lease._is_old = lambda: writes.append("asked how old it is")  # type: ignore[method-assign]
    assert lease.try_acquire()
    lease.release()
    assert not writes


def test_only_one_of_many_gets_it(place: Location):
    leases = [Lease(place) for _ in range(6)]
    got: list[Lease] = []
    threads = [
        threading.Thread(target=lambda one=one: one.try_acquire() and got.append(one))
        for one in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].check()
    got[0].release()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"token": "a"}', b'{"lease_s": "long"}'])
def test_a_damaged_lease_is_said(place: Location, content: bytes):
    objects.write_bytes(place, content)
    with pytest.raises(StorageError, match="is damaged"):
        Lease(place).try_acquire()
