"""Files of /proc as people paste them: what stands around them is taken off, and a series is cut up."""

import pytest

from kmsim.procfs import buddyinfo
from kmsim.procfs.pasted import moments_of, pasted
from tests.procfs.recordings import file
from tests.procfs.test_text import READERS

PASTED = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "no last newline": lambda text: text.rstrip("\n"),
    "quoted": lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
    "quoted twice": lambda text: "".join(f">> {line}\n" for line in text.splitlines()),
    "indented": lambda text: "".join(f"\t  {line}\n" for line in text.splitlines()),
    "blank last line": lambda text: text + "\n",
    "as a log": lambda text: "".join(f"Nov 29 10:00:00 host kernel: {line}\n" for line in text.splitlines()),
    "a time before each row": lambda text: "".join(f"2024-05-06T10:11:00 {line}\n" for line in text.splitlines()),
    "a bar before each row": lambda text: "".join(f"| {line}\n" for line in text.splitlines()),
    "in a fence": lambda text: f"```\n{text}```\n",
    "behind a command": lambda text: f"cat /proc/buddyinfo\n{text}",
    "at a prompt of RHEL": lambda text: f"[root@host ~]# cat /proc/x\n{text}[root@host ~]# \n",
    "at a prompt of SUSE": lambda text: f"host:~ # cat /proc/x\n{text}host:~ # exit\n",
    "at a prompt in a folder": lambda text: f"root@host:/home/my dir# cat /proc/x\n{text}",
    "at a prompt with an arrow": lambda text: f"\u279c  ~ cat /proc/x\n{text}",
    "in a mail": lambda text: f"Hello,\n\nit is 10:11 and this is what I see:\n\n{text}\nThanks, A.\n",
    "behind a prompt": lambda text: f"user@host:~$ cat /proc/buddyinfo\n{text}user@host:~$ \n",
}


@pytest.mark.parametrize("how", PASTED)
@pytest.mark.parametrize("name", ["fresh.buddyinfo", "fresh.pagetypeinfo", "fresh.zoneinfo"])
def test_a_file_is_read_as_people_paste_it(name: str, how: str) -> None:
    plain = file("x86-4k-256M", name)
    assert READERS[name](pasted(PASTED[how](plain), name.removeprefix("fresh."))) == READERS[name](plain)


DATES = {
    "iso": "2024-05-0{n} 10:00:01",
    "english": "Mon May  {n} 10:01:00 AM CEST 2024",
    "german": "Mo {n}. Mai 10:11:00 CEST 2024",
    "russian": "\u041f\u043d {n} \u043c\u0430\u044f 2024 10:11:00",
    "marked": "### Thu May 2{n} 14:13:21 UTC 2024",
    "epoch": "170000000{n}",
    "named": "TIMESTAMP: 2024/05/0{n} 10:11:00",
    "watch": "Every 1.0s: cat /proc/buddyinfo          host: Mon May  {n} 10:11:11 2024\n",
    "prompt": "root@host:~# date; cat /proc/buddyinfo\nMon May  {n} 10:11:11 UTC 2024",
}


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", ["fresh.buddyinfo", "fresh.pagetypeinfo", "fresh.zoneinfo"])
def test_a_series_has_a_moment_for_each_date(name: str, date: str) -> None:
    plain = file("x86-4k-256M", name)
    dates = [DATES[date].format(n=n) for n in (1, 2, 3)]
    moments = moments_of("".join(f"{one}\n{plain}" for one in dates), name.removeprefix("fresh."))
    assert [READERS[name](moment.content) for moment in moments] == [READERS[name](plain)] * 3
    assert [moment.when for moment in moments] == [
        one.rpartition("\n")[2].strip("# ") if date != "watch" else one.rpartition("host: ")[2].strip() for one in dates
    ]


def test_a_time_before_each_row_says_when_a_moment_was() -> None:
    plain = file("x86-4k-256M", "fresh.buddyinfo")
    series = "".join(f"10:1{n}:00.123 {line}\n" for n in (1, 2) for line in plain.splitlines())
    assert [moment.when for moment in moments_of(series, "buddyinfo")] == ["10:11:00.123", "10:12:00.123"]


def test_a_row_that_a_mail_has_broken_is_one_again() -> None:
    rows = buddyinfo.parse(pasted("Node 0, zone DMA 1 2\n 3 4\nNode 0, zone DMA32 5 6\n7 8\n", "buddyinfo"))
    assert [row.nr_free for row in rows] == [(1, 2, 3, 4), (5, 6, 7, 8)]


@pytest.mark.parametrize(
    "broken",
    ["ode 0, zone DMA 1 2 3\n{}", "{}Node 0, zo\n", "{}Node 0, zone DMA32 1\nhello\nNode 0, zone Normal 1 2 3\n"],
)
def test_what_may_be_a_row_of_the_file_is_not_passed_over(broken: str) -> None:
    with pytest.raises(ValueError, match=r"^line \d: "):
        buddyinfo.parse(pasted(broken.format("Node 0, zone DMA 1 2 3\n"), "buddyinfo"))


def test_a_line_that_is_wrong_keeps_its_number_in_what_was_pasted() -> None:
    text = "$ cat /proc/buddyinfo\n\n> Node 0, zone DMA x\n"
    with pytest.raises(ValueError, match=r"^line 3: 'x' is not a count"):
        buddyinfo.parse(pasted(text, "buddyinfo"))
