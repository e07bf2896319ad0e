"""Run the command line as `python -m supercuts`."""

from supercuts.cli.main import app

if __name__ == "__main__":
    app(prog_name="python -m supercuts")
