"""`sequifier docs` prints the guides of docs/."""

from pathlib import Path

from tests.support.command_line import Run

GUIDES = Path(__file__).parents[2] / "docs"


def test_the_list_names_every_guide_with_its_title(run: Run) -> None:
    listed = dict(line.split("  ", maxsplit=1) for line in run("docs").out.splitlines())
    titles = {path.stem: path.read_text(encoding="utf-8").splitlines()[0] for path in GUIDES.glob("*.md")}
    assert {name: f"# {title.strip()}" for name, title in listed.items()} == titles


def test_a_guide_is_printed_as_it_stands(run: Run) -> None:
    assert run("docs", "concepts").out == (GUIDES / "concepts.md").read_text(encoding="utf-8")


def test_a_misspelt_guide_is_named(run: Run) -> None:
    done = run("docs", "concept")
    assert (done.code, "Did you mean 'concepts'?" in done.err) == (2, True)
    assert "`sequifier docs` lists all" in run("docs", "zzz").err
