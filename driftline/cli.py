"""Which command was meant, and with which exit code does it end?

Invariants: a command's module is imported only when that command runs, so `driftline --help` is quick; errors are told,
and end the program, as `driftline.telling` says.
"""

from importlib import import_module
from importlib.util import find_spec

import click

from driftline import __version__
from driftline.telling import TellingCommand

COMMANDS = {
    "init": "Write a configuration from a data file.",
    "run": "Watch the models of a configuration, from Kafka into Postgres.",
    "demo": "Show everything on this machine: events, drift, late labels, live metrics.",
    "replay": "Run data files through the very same code.",
    "reference": "Build or accept the reference that no drift means.",
    "migrate": "Bring the database to this program's schema.",
    "topics": "Create or check the Kafka topics.",
    "episodes": "List, acknowledge or snooze what went wrong.",
    "dead-letters": "List, show or replay what could not be used.",
    "forget": "Erase what is stored under one prediction id.",
    "alerts": "Try the webhooks.",
    "dashboards": "Export or push the Grafana dashboards.",
    "relay": "Publish what waits in Postgres, and nothing else.",
    "capacity": "Say what a workload needs of cores, memory, Kafka and Postgres.",
    "doctor": "Say what is installed, reachable and wrong.",
}


def _module_of(name: str) -> str:
    return f"driftline.commands.{name.replace('-', '_')}"


class Commands(TellingCommand, click.Group):
    """The commands by name, imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which people meet them."""
        return [name for name in COMMANDS if find_spec(_module_of(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(_module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="driftline")
def main() -> None:
    """Watch machine-learning models in production: drift and live accuracy, from Kafka into Postgres.

    Exit codes: 0 done; 2 the configuration, the arguments or a data file is wrong; 3 our own state is wrong; 4 a
    service could not be reached in time.
    """


if __name__ == "__main__":
    main()
