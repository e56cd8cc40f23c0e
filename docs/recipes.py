"""Runs docs/recipes.md: writes the raw files that its recipes begin with, then runs its commands in order.

    python docs/recipes.py                     in a temporary folder; about eight minutes on 2 cores
    python docs/recipes.py --write             and puts what the commands printed into the page
    python docs/recipes.py --small FOLDER      the same steps with little training, in FOLDER

A block of the page is run as it stands, as docs/tutorial.py describes. The data are made up, so that the
answers are known: each function below says what there is to find.
"""

import csv
import math
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tutorial

BEGIN = datetime(2024, 1, 1)


def orders(path: Path, *, n_customers: int = 1500, n_shelves: int = 25) -> None:
    """Write the orders of a shop: nobody buys a product twice, and the next one is often the next of the same shelf."""
    draw = random.Random(1)
    on_shelf = 10
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "time", "product"])
        for customer in range(n_customers):
            shelf, place = draw.randrange(n_shelves), draw.randrange(on_shelf)
            time = BEGIN + timedelta(minutes=draw.randrange(500_000))
            bought: set[tuple[int, int]] = set()
            for _ in range(draw.randint(5, 14)):
                while (shelf, place) in bought:
                    shelf = shelf if draw.random() < 0.7 else draw.randrange(n_shelves)
                    place = draw.randrange(on_shelf)
                bought.add((shelf, place))
                rows.writerow([f"c{customer:04}", time.isoformat(" "), f"p{shelf:02}-{place}"])
                place = (place + draw.choice([1, 1, 1, 3])) % on_shelf
                time += timedelta(minutes=draw.randrange(60, 40_000))


def claims(path: Path, first: int, n_cases: int, *, running: bool = False) -> None:
    """Write a log of an insurance. A claim is registered, checked, perhaps sent back (twice at most), decided, closed.

    Who registers it matters later: claims of the web are sent back more often. Nobody works at weekends.

    Args:
        path: the XES file.
        first: number of the first case.
        n_cases: number of cases.
        running: whether each case is cut after its first events.
    """
    draw = random.Random(first)
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1849-2016">\n']
    for case in range(first, first + n_cases):
        channel = draw.choice(["web", "agent"])
        path_of_case = ["register", "check"]
        for _ in range(2):
            if draw.random() < (0.6 if channel == "web" else 0.15):
                path_of_case += ["ask", "check"]
        path_of_case += [draw.choice(["accept", "accept", "reject"]), "close"]
        time = BEGIN + timedelta(hours=6 * case)
        parts.append(f'<trace><string key="concept:name" value="claim {case}"/>\n')
        for activity in path_of_case[: draw.randint(2, 4) if running else None]:
            while time.weekday() > 4:
                time += timedelta(days=1)
            parts.append(
                f'<event><string key="concept:name" value="{activity}"/><string key="channel" value="{channel}"/>'
                f'<date key="time:timestamp" value="{time.isoformat(timespec="seconds")}+00:00"/></event>\n'
            )
            time += timedelta(hours=draw.expovariate(1 / {"ask": 72, "check": 12}.get(activity, 3)))
        parts.append("</trace>\n")
    path.write_text("".join([*parts, "</log>\n"]), encoding="utf-8")


def visits(path: Path, first: int, n_customers: int, *, labelled: bool = True) -> None:
    """Write the visits to a service, by week. Who is going to leave comes less often and calls the support more often.

    Args:
        path: the CSV file.
        first: number of the first customer.
        n_customers: number of customers.
        labelled: whether the column `left` says who has left.
    """
    draw = random.Random(first)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "time", "kind", "minutes", *(["left"] if labelled else [])])
        for customer in range(first, first + n_customers):
            leaves = draw.random() < 0.25
            time = BEGIN + timedelta(minutes=draw.randrange(200_000))
            n_visits = draw.randint(8, 30)
            for visit in range(n_visits):
                late = leaves and visit > n_visits // 2
                kind = draw.choices(["watch", "search", "support"], [6, 3, 2 if late else 1])[0]
                minutes = draw.expovariate(1 / (12 if late else 20))
                row = [f"c{customer:05}", time.isoformat(" ", "minutes"), kind, f"{minutes:.1f}"]
                rows.writerow([*row, *(["yes" if leaves else "no"] if labelled else [])])
                time += timedelta(minutes=1 + draw.expovariate(1 / (6_000 if late else 4_000)))


def loads(path: Path, first: int, last: int) -> None:
    """Write the hourly load of substations from one hour to another: a day, a week, weather that lasts, and noise.

    Args:
        path: the CSV file.
        first, last: hours from the beginning of the year; the last one is not written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["site", "time", "load"])
        for site in range(6):
            draw, weather, evening = random.Random(site), 0.0, 18 + site % 3
            size = 20 * (site + 1)
            for hour in range(last):
                time = BEGIN + timedelta(hours=hour)
                day = math.cos((time.hour - evening) * math.pi / 12) + 0.4 * math.cos((time.hour - 8) * math.pi / 6)
                weather = 0.995 * weather + draw.gauss(0, 0.05)
                noise = draw.gauss(0, 0.08)
                load = size * (3 + day * (0.6 if time.weekday() > 4 else 1) + weather + noise)
                if hour >= first:
                    rows.writerow([f"site {site}", time.isoformat(" ", "minutes"), f"{load:.2f}"])


def write_raw_files(folder: Path) -> None:
    """Write the files with which the recipes begin."""
    orders(folder / "orders.csv")
    orders(folder / "catalogue.csv", n_customers=10_000, n_shelves=1200)
    claims(folder / "claims.xes", 0, 1200)
    claims(folder / "running.xes", 1200, 40, running=True)
    visits(folder / "visits.csv", 0, 2000)
    visits(folder / "new-visits.csv", 2000, 100, labelled=False)
    loads(folder / "load.csv", 0, 24 * 120)
    loads(folder / "latest.csv", 24 * 114, 24 * 122)


if __name__ == "__main__":
    tutorial.main(Path(__file__).with_name("recipes.md"), prepare=write_raw_files, description=__doc__)
