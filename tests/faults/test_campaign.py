"""Power cuts and kills under load (rows 1, 3, 4, 5). FAULTS_CUTS says how many of each."""

from __future__ import annotations

import os

from faults.campaign import CLASSES, Campaign

CUTS = int(os.environ.get("FAULTS_CUTS", 20))


def assert_worth_something(figures, cuts: int) -> None:
    """There was something to lose at each fault."""
    print(f"\n{figures}")
    assert figures.faults == cuts
    assert figures.acknowledged and all(count > 20 * cuts for count in figures.acknowledged.values())
    assert figures.reread and figures.shown_batches > cuts


def test_power_cuts(make_broker, chance):
    """No class loses what it promises to keep; the others lose an end of each log, within their windows."""
    broker = make_broker(megabytes=1024 + 3 * CUTS)
    figures = Campaign(broker, chance, CUTS).run("power")
    assert_worth_something(figures, CUTS)
    assert figures.commits > CUTS
    # The others show that power cuts do take something.
    assert not figures.lost.keys() & {of.name for of in CLASSES if of.promises}
    assert figures.lost


def test_power_cuts_where_nothing_else_is_synced(make_broker, chance):
    """Beside topics that are synced at every append, the others lose little: their data goes to the disk with it. Here they
    are alone, and what flush.messages and flush.ms promise is all there is."""
    cuts = max(CUTS // 4, 5)
    broker = make_broker(megabytes=512 + 3 * cuts)
    figures = Campaign(broker, chance, cuts, classes=[of for of in CLASSES if not of.promises], transactions=False).run("power")
    assert_worth_something(figures, cuts)
    assert figures.lost.keys() == figures.acknowledged.keys()


def test_kills(make_broker, chance):
    """No class loses anything: the page cache survives the process."""
    broker = make_broker()
    figures = Campaign(broker, chance, CUTS).run("kill")
    assert_worth_something(figures, CUTS)
    assert not figures.lost
