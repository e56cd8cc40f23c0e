"""Commands as a user runs them: words in, exit code and both streams out."""

import sys

import pytest

from sequifier.cli.main import main
from tests.support.command_line import Done, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `sequifier WORDS...` in this process; stdin is no terminal."""

    def command(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sequifier", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, captured.out, captured.err)

    return command
