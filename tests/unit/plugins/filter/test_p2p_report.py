# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report from recorded samples: nothing lost, nothing trusted, the same twice."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.p2p.plugins.filter.p2p_report import (
    FilterModule,
    p2p_report_files,
    p2p_report_records,
    p2p_report_summary,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_matrix import (
    matrix_groups,
    picture,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_page import record_file_name
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_values import (
    MISSING,
    build_line,
    figure,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_view import page_view
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[4]
FIXTURES = ROOT / "tests/unit/roles/report/fixtures"
TEMPLATE = (ROOT / "roles/report/templates/report.html.j2").read_text(encoding="utf-8")
VOID_ELEMENTS = {"meta", "br", "circle", "line"}


def sample(name: str) -> list[dict[str, Any]]:
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


def page(records: list[dict[str, Any]]) -> str:
    return p2p_report_files(records, TEMPLATE)[-1]["content"]


class Elements(HTMLParser):
    """Collects the elements and demands that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_ELEMENTS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def elements(html: str) -> Elements:
    parser = Elements()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("name", ["two_hosts", "seven_gpu_rig", "failed_iommu"])
def test_page_is_well_formed_and_loads_nothing(name: str) -> None:
    html = page(sample(name))
    found = elements(html)
    tags = {tag for tag, _ in found.seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "base"}
    for _, attributes in found.seen:
        assert "src" not in attributes
        assert str(attributes.get("href", "#")).startswith("#")
        assert not any(attribute.startswith("on") for attribute in attributes)
    assert "@import" not in html
    assert "url(" not in html
    identifiers = [attributes["id"] for _, attributes in found.seen if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("name", ["two_hosts", "seven_gpu_rig", "failed_iommu"])
def test_same_records_in_any_order_give_the_same_files(name: str) -> None:
    records = sample(name)
    assert p2p_report_files(records, TEMPLATE) == p2p_report_files(records[::-1], TEMPLATE)


def test_what_a_host_calls_itself_is_text() -> None:
    hostile = "<script>alert(1)</script>"
    records = sample("two_hosts")[:1]
    records[0]["host"] = hostile
    records[0]["verify"]["gpus"][0]["name"] = '"><img src=x onerror=alert(1)>'
    records[0]["verify"]["cmdline"] = "{{ 7 * 7 }}</td>"
    records[0]["failure"] = {"code": "<b>", "read": "&amp;", "want": "<i>", "remedy": "'\"<u>"}
    html = page(records)
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    elements(html)


def test_every_figure_of_the_matrices_is_text_in_a_cell() -> None:
    records = sample("seven_gpu_rig")
    words = set(elements(page(records)).words)
    for pair in records[0]["verify"]["pairs"]:
        for arm in ("off", "on"):
            for kind in ("uni", "bidi"):
                value = pair["bandwidth"][arm][kind]
                assert value is None or figure(value) in words
            latency = pair["latency"][arm]
            assert latency is None or figure(latency) in words


def test_a_pair_with_wrong_data_shows_no_bandwidth() -> None:
    groups = matrix_groups(sample("failed_iommu")[0]["verify"])
    on = next(group for group in groups if group.title == "Bandwidth, one direction").matrices[1]
    assert [cell.heat for row in on.rows for cell in row.cells] == [None] * 4
    correctness = groups[0].matrices[1]
    assert correctness.rows[0].cells[1].text == "wrong"


def test_rows_send_and_columns_own_the_memory() -> None:
    verify = sample("two_hosts")[0]["verify"]
    verify["pairs"] = [pair for pair in verify["pairs"] if pair["from"] == 0]
    one_way = matrix_groups(verify)[0].matrices[0]
    assert one_way.rows[0].cells[1].text == "pass"
    assert one_way.rows[1].cells[0].text == "\N{EN DASH}"


def test_every_way_of_moving_data_has_a_matrix() -> None:
    verify = sample("two_hosts")[0]["verify"]
    pair = verify["pairs"][0]
    for number, way in enumerate(("copy_read", "sm_write", "sm_read")):
        pair["bandwidth"][way] = {"uni": 41.0 + number, "bidi": None}
    (ways,) = [group for group in matrix_groups(verify) if "who moves" in group.title]
    assert [matrix.title for matrix in ways.matrices] == [
        "copy read",
        "kernel write",
        "kernel read",
    ]
    assert [matrix.rows[0].cells[1].text for matrix in ways.matrices] == ["41.0", "42.0", "43.0"]


def test_a_check_that_a_record_does_not_know_is_not_missing_there() -> None:
    verify = sample("two_hosts")[0]["verify"]
    for pair, ipc in zip(verify["pairs"], (None, "failed"), strict=True):
        pair["correctness"].pop("ipc", None)
        if ipc:
            pair["correctness"]["ipc"] = ipc
    checks = matrix_groups(verify)[0].matrices[1]
    assert (checks.rows[0].cells[1].text, checks.rows[0].cells[1].tone) == ("5/5", "good")
    assert (checks.rows[1].cells[0].text, checks.rows[1].cells[0].note) == ("wrong", "ipc")


def test_groups_are_ready_for_cuda_visible_devices() -> None:
    host = page_view(sample("seven_gpu_rig")).hosts[0]
    assert [group.devices for group in host.groups] == ["0,1", "2,3", "4,5,6"]


def test_the_picture_takes_the_worse_of_two_directions() -> None:
    verify = sample("seven_gpu_rig")[0]["verify"]
    for pair in verify["pairs"]:
        if (pair["from"], pair["to"]) == (1, 0):
            pair["verdict"] = "fail"
    drawn = picture(verify)
    assert drawn is not None
    tones = {edge.label: edge.tone for edge in drawn.edges}
    assert tones["GPU 0 and GPU 1: bad"] == "bad"
    assert picture(sample("two_hosts")[0]["verify"]) is None


def test_one_build_for_two_hosts_is_told_once() -> None:
    records = sample("two_hosts")
    assert build_line(records) == "driver: built 1, installed 2"
    records[1]["driver"]["built"] = True
    assert build_line(records) == "driver: built 1, installed 2"
    records[1]["driver"]["build_id"] = "another"
    assert build_line(records) == "driver: built 2, installed 2"


def test_a_build_id_that_does_not_run_is_marked() -> None:
    records = sample("two_hosts")[:1]
    records[0]["driver"]["build_id"] = "0" * 40
    identity = {name: (value, tone) for name, value, tone in page_view(records).hosts[0].identity}
    value, tone = identity["build-id of this fleet's build"]
    assert "not what is running" in value
    assert tone == "bad"


def test_hosts_without_a_record_are_not_left_out() -> None:
    completed = p2p_report_records(
        sample("two_hosts"), ["alpha", "beta", "gone", "later"], ["gone"]
    )
    assert [(record["host"], record["outcome"]) for record in completed] == [
        ("alpha", "verified"),
        ("beta", "verified"),
        ("gone", "unreachable"),
        ("later", "not_reached"),
    ]
    assert page_view(completed).sentence == "2 of 4 hosts need attention"


def test_summary_names_every_failure_with_its_remedy() -> None:
    lines = p2p_report_summary(sample("failed_iommu"), "/srv/report.html")
    assert lines[-1] == "report: /srv/report.html"
    assert any(line.startswith("alpha: iommu_translating:") for line in lines)
    assert any("Resizable BAR" in line for line in lines if line.startswith("gamma:"))
    assert sum("bar1_covers_memory" in line for line in lines) == 1


def test_a_group_at_once_stands_beside_its_pairs_and_notes_in_words() -> None:
    words = " ".join(elements(page(sample("two_hosts"))).words)
    for told in ("107", "53.4", "55.0", "link of GPU 0, sending: 1 of 2 pairs", "nccl_gate"):
        assert told in words
    assert words.count("All at once") == 1, "beta's record is from before there were any"


def test_summary_says_a_note_once_for_all_hosts_that_have_it() -> None:
    (alpha, _beta) = sample("two_hosts")
    records = [{**alpha, "host": f"gpu{number}"} for number in range(5)]
    notes = [line for line in p2p_report_summary(records) if "note:" in line]
    assert notes == [
        "gpu0, gpu1, gpu2 and 2 more: note: nccl_gate: GPUs 0 and 1 are verified, path PHB is "
        "beyond PXB (NCCL's default); set NCCL_P2P_LEVEL=PHB"
    ]
    table = p2p_report_summary(sample("two_hosts"))[:3]
    column = table[0].index("all at once")
    assert [line[column:].split()[0] for line in table[1:]] == ["107", MISSING]


def test_summary_gives_a_terminal_nothing_to_obey() -> None:
    records = [{"host": "a\x1b[2J", "outcome": "failed", "failure": {"code": "x", "read": "\x07"}}]
    assert not re.search(r"[\x00-\x1f\x7f]", "".join(p2p_report_summary(records)))


@pytest.mark.parametrize(
    "host", ["../../etc/passwd", "..", ".hidden", "a/b", "<script>", "", "\0", "x" * 300, "ÄÖ"]
)
def test_a_record_stays_in_its_folder(host: str) -> None:
    name = record_file_name(host)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.json", name)
    assert len(name) < 200


def test_file_names_tell_hosts_apart() -> None:
    assert record_file_name("a/b") != record_file_name("a_b")
    assert record_file_name("gpu-01.example") == "gpu-01.example.json"


def test_a_list_is_wanted() -> None:
    with pytest.raises(AnsibleFilterError, match="records is a dict"):
        FilterModule().filters()["p2p_report_records"]({})


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.4567, "0.46"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (394.04, "394")],
)
def test_figures_have_three_digits(value: float, told: str) -> None:
    assert figure(value) == told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(data=st.data())
def test_no_damaged_record_hides_the_others(data: st.DataObject) -> None:
    """Any one place of a record replaced by anything: the page still has both hosts."""
    records = sample("two_hosts")
    damaged = copy.deepcopy(records[0])
    place: Any = damaged
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys)) if keys else None
        if key is None or key == "host" or not isinstance(place[key], (dict, list)):
            break
        place = place[key]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if keys:
        key = data.draw(st.sampled_from(keys))
        if not (place is damaged and key == "host"):
            place[key] = data.draw(JSON)
    html = page([damaged, records[1]])
    assert ">beta</h2>" in html
    p2p_report_summary([damaged, records[1]])


@pytest.mark.parametrize("outcome", ["verified", "ready", "done"])
def test_the_headline_counts_what_the_run_was_for(outcome: str) -> None:
    records = [{"host": name, "outcome": outcome} for name in ("alpha", "beta")]
    tile = page_view(records).tiles[0]
    assert (tile.figure, tile.label, tile.tone) == ("2/2", f"hosts {outcome}", "good")
