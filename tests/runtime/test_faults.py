"""R4, R6: whatever breaks, the run ends, with the right error, and every item is accounted for. Names are the table's."""

import pytest

import faults_at_edges  # noqa: F401  # Each of these enters its faults in the table.
import faults_in_items  # noqa: F401
import faults_in_pools  # noqa: F401
import faults_in_stages  # noqa: F401
import faults_of_leaving  # noqa: F401
import faults_of_stop  # noqa: F401
from fault_table import FAULTS


@pytest.mark.usefixtures("fast_switches")
@pytest.mark.parametrize("name", list(FAULTS))
def test_r6_whatever_breaks_it_ends(name: str) -> None:
    FAULTS[name]()


def test_the_table_is_long() -> None:
    assert len(FAULTS) >= 60
