"""A sample of `make test-kill`: a handful of kills of every kind, on a cloud of its own."""

import os

import pytest

from tests.kill.campaign import Campaign, describe
from tests.kill.cloud import KillCloud

KILLS = 15


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_orphaned_whoever_is_killed(tmp_path):
    seed = int(os.environ.get("KILL_SEED", "7"))
    with KillCloud(tmp_path / "cloud") as cloud:
        campaign = Campaign(cloud, seed, mixed=True)
        campaign.run(KILLS)
    assert not campaign.problems, "\n".join(campaign.problems) + "\n\n" + describe(campaign)
    assert campaign.total >= KILLS
