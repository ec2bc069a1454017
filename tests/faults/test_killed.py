"""Killed anywhere, the same result: a few cases of what ``make faults`` tries in full."""

from __future__ import annotations

import random

from tests.faults.campaign import Campaign
from tests.faults.random_kills import Command, killed_at_random


def test_the_command_survives_five_kills_at_random_moments(tmp_path) -> None:
    command = Command.prepared(tmp_path)
    assert killed_at_random(command, 5, random.Random(5)) == 5


def test_faults_at_some_writes_and_flipped_bytes_lose_nothing(tmp_path) -> None:
    """Every fiftieth write; ``make faults`` takes the others in turn."""
    tally = Campaign(tmp_path, part=7, of=50, minutes=10, seed=0).run(kills=0)
    assert tally.lost == []
    assert tally.kills_at_writes >= 8
    assert tally.full_disks >= 8


def test_a_campaign_notices_what_is_lost(tmp_path, monkeypatch) -> None:
    """Else the tests above could not fail: here every continued run has other weights."""
    campaign = Campaign(tmp_path, part=1, of=200, minutes=10, seed=0)
    real = campaign._continue

    def spoiled() -> None:
        path = next(campaign._whole.rglob("network-0.safetensors"))
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        try:
            real()
        finally:
            path.write_bytes(content)

    monkeypatch.setattr(campaign, "_continue", spoiled)
    tally = campaign.run(kills=0)
    assert len(tally.lost) == tally.kills_at_writes + tally.full_disks + tally.bytes_flipped > 0
