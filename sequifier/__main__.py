"""`python -m sequifier` is the `sequifier` command."""

from sequifier.cli.main import main

if __name__ == "__main__":
    main()
