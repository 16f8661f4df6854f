"""Who is killed and why that one, by the tables of kernels from 2.6.32 on, and of memory cgroups."""

import json
from pathlib import Path

import pytest

from kmsim.procfs.mem_report import MemReport, parse
from kmsim.session.explain import explain_and_show, lines_of
from kmsim.study.explain import explain
from kmsim.study.oom_badness import scored, unscored

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"
OLD = """\
db invoked oom-killer: gfp_mask=0x280da, order=0, oom_adj=0, oom_score_adj=0
Pid: 2211, comm: db Not tainted 2.6.32-573.el6.x86_64 #1
Mem-Info:
Node 0 DMA32: 150*4kB = 600kB
Total swap = 1048572kB
524272 pages RAM
44042 pages reserved
[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name
[  451]     0   451     2662        1   0     -17         -1000 udevd
[ 2211]    27  2211   612000   381200   1      -5          -294 db
[ 3555]    48  3555    90000    22000   0       0             0 httpd
[ 3900]   500  3900    90000    30000   0       8           470 7 zip
Out of memory: Kill process 3900 (7 zip) score 512 or sacrifice child
Killed process 3901, UID 500, (gzip) total-vm:360000kB, anon-rss:120000kB, file-rss:0kB
"""
CGROUP = """\
job invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
CPU: 2 PID: 91 Comm: job Not tainted 5.15.0-1031-aws #35-Ubuntu
Call Trace:
 oom_kill_process.cold+0xb/0x10
 mem_cgroup_out_of_memory+0x13f/0x160
 try_charge_memcg+0x687/0x740
memory: usage 131072kB, limit 131072kB, failcnt 422
Memory cgroup stats for /pods/a:
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[     90]     0    90      186      178    40960        0           500 init
[     91]     0    91    64201    32312   303104        0             0 job
"""
KILLS = """\
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/pods/a,task=job,pid=91,uid=0
Memory cgroup out of memory: Killed process 91 (job (1)) total-vm:256804kB, anon-rss:128992kB, oom_score_adj:0
"""


def one(text: str) -> MemReport:
    (report,) = parse(text)
    return report


def said(text: str) -> str:
    return "\n".join(lines_of(explain(one(text))))


def test_columns_are_those_of_the_tables_head() -> None:
    report = one(OLD)
    assert [(task.comm, task.rss, task.swap, task.pgtables, task.score_adj) for task in report.tasks] == [
        ("udevd", 1, None, None, -1000),
        ("db", 381200, None, None, -294),
        ("httpd", 22000, None, None, 0),
        ("7 zip", 30000, None, None, 470),
    ]
    ranks = scored(report, (2, 6))
    thousandth = (524272 - 44042 + 1048572 // 4) // 1000
    assert [(one.task.comm, one.points) for one in ranks] == [
        ("7 zip", 30000 + 470 * thousandth),
        ("db", 381200 - 294 * thousandth),
        ("httpd", 22000),
    ]


def test_a_child_that_is_killed_in_place_of_who_was_chosen() -> None:
    report = one(OLD)
    assert (report.killed, report.kill.chosen) == ((3901, "gzip"), (3900, "7 zip"))
    assert "7 zip, pid 3900, was chosen; gzip, pid 3901, was killed for it" in said(OLD)
    assert "7 zip has most points of 3 tasks that may be killed" in said(OLD)


def test_a_victim_that_is_not_the_first_or_not_in_the_table_gets_its_word() -> None:
    lines = OLD.replace("Kill process 3900 (7 zip)", "Kill process 3555 (httpd)")
    assert "7 zip, pid 3900, has more points: 2 of 3 tasks that may be killed have more than httpd" in said(lines)
    assert "pid 77 is not in the table" in said(OLD.replace("Kill process 3900", "Kill process 77"))
    guarded = OLD.replace("Kill process 3900 (7 zip)", "Kill process 451 (udevd)")
    assert "udevd has oom_score_adj -1000, which protects it" in said(guarded)
    asked = OLD.replace("Out of memory: Kill", "Out of memory (oom_kill_allocating_task): Kill")
    assert "who asked for the memory is killed" in said(asked)


def test_without_the_size_of_ram_points_are_said_only_where_no_adjustment_needs_it() -> None:
    unsized = OLD.replace("524272 pages RAM\n", "")
    assert unscored(one(unsized)) == "how large RAM is (a line 'pages RAM'), by which oom_score_adj is scaled"
    assert "why that one: not known, without how large RAM is" in said(unsized)
    plain = unsized.replace("-294", "0").replace("470 7", "0 7")
    assert [one.task.comm for one in scored(one(plain), (2, 6))] == ["db", "7 zip", "httpd"]


def test_a_group_has_points_by_its_limit() -> None:
    report = one(CGROUP + KILLS)
    assert report.cgroup is not None
    assert (report.cgroup.name, report.killed) == ("/pods/a", (91, "job (1)"))
    limit = 131072 // 4
    points = {one.task.comm: one.points for one in scored(report, (5, 15))}
    assert points == {"job": 32312 + 74, "init": 178 + 10 + 500 * (limit // 1000)}
    assert "job (1) has most points of 2 tasks that may be killed" in said(CGROUP + KILLS)


@pytest.mark.parametrize(
    "text", [KILLS, KILLS.splitlines(keepends=True)[1], CGROUP, "".join(CGROUP.splitlines(True)[:5])]
)
def test_a_memory_cgroup_is_told_by_any_of_its_lines(text: str) -> None:
    assert one(text).cgroup is not None
    lines = said(text)
    assert "at its limit" in lines
    assert "the machine was not short of memory" in lines
    assert "so it fails" not in lines


def test_kills_of_groups_without_their_reports_are_each_one() -> None:
    machine = (REPORTS / "oom-5.15.txt").read_text(encoding="utf-8")
    reports = parse(KILLS + KILLS.replace("91", "92") + machine + KILLS + CGROUP + KILLS)
    assert [report.killed and report.killed[0] for report in reports] == [91, 92, 4300, 91, 91]
    assert [report.cgroup is not None for report in reports] == [True, True, False, True, True]
    assert reports[0].request.has_failed is False


def test_json_has_who_was_killed_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").write_text(CGROUP + KILLS)
    explain_and_show(tmp_path / "log.txt", 1, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["killed"] == {"pid": 91, "command": "job (1)"}
    assert found["points"][0]["command"] == "job"
    assert found["cgroup"] == {"name": "/pods/a", "usage_kb": 131072, "limit_kb": 131072}
    assert found["why_killed"].startswith("job (1) has most points")
