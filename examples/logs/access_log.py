"""Makes a web server's access log, as they are: with broken lines, odd characters and very long lines. Always the same one.

python access_log.py [LINES]   # access.log.gz; pages.csv, the section of each page; broken.txt, the numbers of broken lines
"""

import gzip
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

LINES = 2_000_000
A_DAY = 86_400  # Seconds, over which the lines are spread.
EVERY = 1009  # About how many lines there are to an odd one, and to a broken one.

SECTIONS = "shop", "blog", "docs", "forum", "account"
PAGES = {f"/{section}/{number}": section for section in SECTIONS for number in range(200)} | {
    "/": "home",
    "/café/menü": "shop",
}
UNKNOWN = "/wp-login.php", "/.env", "/favicon.ico"  # Asked for, and no pages.
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.14.1",
)
STATUSES = (200,) * 88 + (304,) * 5 + (404,) * 4 + (301,) * 2 + (500,)

ODD = (  # Instead of the path and the agent. All of them are good lines.
    ("/caf%C3%A9/men%C3%BC", "curl/8.14.1"),
    ("/café/menü", "☕ 咖啡/1.0"),
    ("/shop/1", r"a \"quoted\" one with a \\ and a tab\x09"),
    ("/shop/2", "a line separator\u2028, a next line\u0085 and a form feed\f"),
    ("/docs/3?q=" + "x" * 65_536, "curl/8.14.1"),
    ("/%FF%FE", "-"),
)
BROKEN = (  # What becomes of a line.
    lambda line: line[: len(line) // 2],
    lambda line: line.replace(b"/20", b"/99", 1).replace(b"[", b"[3", 1),  # The day and the year.
    lambda line: line.replace(b'"GET', b'"\\x16\\x03\\x01', 1),  # TLS, where plain HTTP is spoken.
    lambda line: line.replace(b"Mozilla", b"Mozill\xe0").replace(b"curl", b"c\xfcrl"),  # Latin-1.
    lambda line: b"\0" * len(line),  # The machine went down.
    lambda line: b"",
)


def lines(number: int = LINES, seed: int = 1) -> Iterator[tuple[bytes, bool]]:
    """The lines, and whether each is broken."""
    random = Random(seed)
    begin, pages = datetime(2025, 6, 1, tzinfo=UTC), [*PAGES][:-1]
    hosts = [f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}" for _ in range(5000)]
    referers = ["-"] * 3 + [f"https://www.example.com{page}" for page in pages[::100]]
    second, moment = -1, ""
    for at in range(number):
        if (now := at * A_DAY // number) != second:
            second, moment = now, (begin + timedelta(seconds=now)).strftime("%d/%b/%Y:%H:%M:%S +0000")
        draw = random.random()
        page, agent = pages[int(draw * draw * len(pages))], AGENTS[at * 7 % 11 % len(AGENTS)]
        if at % EVERY == 500:
            page, agent = ODD[at // EVERY % len(ODD)]
        elif at % 41 == 0:
            page = UNKNOWN[at % len(UNKNOWN)]
        status, size = STATUSES[int(draw * 1e6) % 100], int(draw * 1e7) % 50_000
        line = (
            f'{hosts[int(draw * 1e8) % 5000]} - - [{moment}] "GET {page} HTTP/1.1" {status} '
            f'{size if status == 200 else "-"} "{referers[at % len(referers)]}" "{agent}"'
        ).encode()
        if at % EVERY == 900:
            yield BROKEN[at // EVERY % len(BROKEN)](line), True
        else:
            yield line, False


if __name__ == "__main__":
    number = int(sys.argv[1]) if sys.argv[1:] else LINES
    with open("pages.csv", "w", encoding="utf-8") as table:
        table.write("page,section\n")
        table.writelines(f"{page},{section}\n" for page, section in PAGES.items())
    with gzip.open("access.log.gz", "wb", 1) as log, open("broken.txt", "w") as broken:
        for at, (line, is_broken) in enumerate(lines(number), start=1):
            log.write(line + b"\n")
            if is_broken:
                broken.write(f"{at}\n")
