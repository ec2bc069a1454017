"""Killed anywhere, the same result: a few cases of what ``make faults`` tries in full.

Campaigns have processes of their own: they fork, which only works before PyTorch has threads.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest
from tests.faults.random_kills import Command, killed_at_random

SPOILED = """
import sys
from pathlib import Path
from tests.faults import campaign

real = campaign.Campaign._continue

def spoiled(self):
    path = next(self._whole.rglob("network-0.safetensors"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        real(self)
    finally:
        path.write_bytes(content)

campaign.Campaign._continue = spoiled
sys.exit(campaign.main())
"""


def tried(*command: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status of a campaign and its tally."""
    done = subprocess.run(
        [sys.executable, *command, "--kills", "0"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


@pytest.mark.rest
def test_the_command_survives_five_kills_at_random_moments(tmp_path) -> None:
    command = Command.prepared(tmp_path)
    assert killed_at_random(command, 5, random.Random(5)) == 5


@pytest.mark.rest
def test_faults_at_some_writes_and_flipped_bytes_lose_nothing() -> None:
    """Every sixtieth write; ``make faults`` takes the others in turn."""
    status, tally = tried("-m", "tests.faults.campaign", "--slice", "7", "--of", "60")
    assert tally["lost"] == []
    assert status == 0
    assert tally["kills_at_writes"] >= 6
    assert tally["full_disks"] >= 6


@pytest.mark.rest
def test_a_campaign_notices_what_is_lost() -> None:
    """Else the test above could not fail: here every continued run has other weights."""
    status, tally = tried("-c", SPOILED, "--slice", "1", "--of", "250")
    cases = tally["kills_at_writes"] + tally["full_disks"]
    assert status == 1
    assert len(tally["lost"]) == cases + tally["bytes_flipped"] > 1
