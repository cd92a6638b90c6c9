"""`python -m equidrift` is the command `equidrift`."""

from equidrift.cli.main import run

if __name__ == "__main__":
    run()
