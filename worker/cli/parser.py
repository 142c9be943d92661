"""Build the parser of the whole command line from the catalogue."""

from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from typing import NoReturn

from worker import __version__
from worker.cli.arguments import FLAGS, add_all
from worker.cli.catalogue import COMMANDS, MODULES
from worker.core.redact import visible
from worker.settings import help_of

FLAG_SETTINGS = ("database_url", "rate", "concurrency", "progress", "listen")
"""Settings that have a flag of the same name."""

SHELLS = ("bash", "zsh", "tcsh", "fish", "powershell")
"""The shells that shtab supports."""

NEWCOMER = """\
three things to begin with:
  valossa-ingest demo                 see it work, on this machine alone
  valossa-ingest import videos.csv    put your list in (columns: url, media_id, title, language …)
  valossa-ingest drain                submit it, with VALOSSA_API_KEY set

exit codes of drain: 0 done · 1 a video failed or is in doubt · 75 rows wait, run it again ·
77 the key was refused · 78 configuration · 129/130/143 stopped by a signal
"""


class _PrintCompletion(Action):
    def __call__(self, parser: ArgumentParser, _: object, shell: object, *__: object) -> None:
        import shtab  # noqa: PLC0415 - it would take a third of the time of --help

        print(shtab.complete(parser, str(shell)))
        parser.exit()


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def parser() -> ArgumentParser:
    """Return the parser of the whole command line."""
    root = _Parser(
        prog="valossa-ingest",
        description="Empties a table of video URLs into the Valossa Core API: "
        "none lost, none bought twice.",
        epilog=NEWCOMER,
        formatter_class=RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"valossa-ingest {__version__}")
    root.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        help="shell completion: valossa-ingest --print-completion bash",
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        added = commands.add_parser(
            command.name,
            help=command.purpose,
            description=command.purpose[0].upper() + command.purpose[1:] + ".",
            epilog=command.epilog,
            formatter_class=RawDescriptionHelpFormatter,
        )
        function = {"import": "import_", "list": "list_"}.get(command.name, command.name)
        added.set_defaults(module=MODULES.get(command.name, function), function=function)
        added.add_argument("--config", metavar="FILE", help="settings file (TOML)")
        added.add_argument(
            "--database", dest="database_url", metavar="URL", help=help_of("database_url")
        )
        add_all(added, FLAGS.get(command.name, ()))
    return root
