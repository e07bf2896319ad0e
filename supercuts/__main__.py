"""Run the command line as `python -m supercuts`.

In   the arguments of the process
Out  what the command prints, and its exit code
Not  no commands: they live in cli/
"""

from supercuts.cli.main import app

if __name__ == "__main__":
    app(prog_name="python -m supercuts")
