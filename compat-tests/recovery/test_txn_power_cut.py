"""The power goes while transactions end, over and over: each is whole or absent, across partitions and offsets.

What was acknowledged as committed is there, in all partitions and with its offsets; what nobody was told of is there in all
of them or in none. POWER_CUTS says how many cuts a scenario makes; COMPAT_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from conftest import NOT_OURS
from recovery.disks import FLUSH_JOURNAL, FLUSH_NOTHING, broker_on_disk
from recovery.atomicity import PARTITIONS, transactional_load
from transactions.judge import ABORTED, COMMITTED

pytestmark = pytest.mark.skipif(NOT_OURS, reason="what survives a power cut is for each broker's defaults to say")

CUTS = int(os.environ.get("POWER_CUTS", 10))
DISK_MEGABYTES = 512 + 50 * CUTS


@pytest.fixture
def broker(tmp_path):
    yield from broker_on_disk(tmp_path, DISK_MEGABYTES)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


@pytest.mark.parametrize("protocol", [1, 2])
def test_cuts_while_transactions_end(protocol, broker, chance, tmp_path):
    """Settings as shipped. Each third time the power goes again at once: what was shown in between stays as it was."""
    broker.create("transactions", PARTITIONS)
    with transactional_load(tmp_path, broker.port, "transactions", protocol) as running:
        for number in range(CUTS):
            running.wait_for(chance.randint(5, 40), f"cut {number + 1}")
            time.sleep(chance.uniform(0, 0.02))
            broker.lose_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
            if number % 3 == 1:
                # The producer lives, and asks again how its transaction ended.
                broker.start()
                continue
            running.kill()
            broker.start()
            shown = running.assert_atomic(f"after cut {number + 1}", broker.tail)
            if number % 3 == 2:
                broker.lose_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
                broker.start()
                # Read anew, from the beginning.
                running.forget()
                again = running.assert_atomic(f"after the second of cut {number + 1}", broker.tail)
                assert again == shown, f"cut {number + 1}: {again.offsets} instead of {shown.offsets}"
            running.start()
        running.wait_for(10, "the end")
        running.finish()
    running.assert_atomic("at the end", broker.tail)
    told = running.outcomes()
    assert told.count(COMMITTED) > CUTS and told.count(ABORTED) > 0, told
