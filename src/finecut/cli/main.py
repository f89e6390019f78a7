"""The `finecut` program: every verb, and `finecut "a sentence"` as a short form of search."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer

import finecut
from finecut.cli.show import EXIT_FAILED, EXIT_INTERRUPTED, os_error_text, out, say, say_error

# Which module registers which verbs, in the order of --help. A call imports and registers the
# module of its own verb alone: that of all the others takes longer than a small verb's work.
HOMES = {
    "index": ("index",),
    "watch": ("watch",),
    "search": ("search", "quality"),
    "cut": ("cut",),
    "serve": ("serve",),
    "mcp": ("mcp",),
    "library": ("info", "ls", "rm"),
    "backup": ("backup",),
    "switch": ("switch",),
    "duplicates": ("duplicates",),
    "doctor": ("doctor",),
    "bundle": ("models", "bundle"),
    "demo": ("demo",),
    "learn": ("export", "flops"),
    "data": ("data",),
    "train": ("train",),
    "evaluate": ("evaluate",),
}
VERBS = frozenset(verb for verbs in HOMES.values() for verb in verbs)


def _version(asked: bool) -> None:
    if asked:
        out(f"finecut {finecut.__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    pass


def program(verb: str | None = None) -> typer.Typer:
    """The command line: whole, or as much of it as one verb needs."""
    app = typer.Typer(
        name="finecut",
        help="Find moments in videos by a sentence.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="\b\nExamples:\n"
        "  finecut index ~/Videos\n"
        '  finecut search "a dog catches a frisbee"\n'
        "  finecut serve",
    )
    app.callback()(_options)
    for module, verbs in HOMES.items():
        if verb in verbs or verb not in VERBS:
            import_module(f"finecut.cli.{module}").register(app)
    return app


# Verbs that go on from where they were interrupted.
GOES_ON = frozenset(["index", "demo", "data", "train", "evaluate"])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    A first word that is no verb and holds a space is a sentence to search for.
    """
    own_process = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # One line a query from Lance would land on stderr otherwise; set before it is loaded.
    os.environ.setdefault("LANCE_LOG", "error")
    # Pydantic would read the metadata of every installed package to look for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if arguments and " " in arguments[0].strip() and not arguments[0].startswith("-"):
        arguments = ["search", *arguments]
    as_json = "--json" in arguments
    try:
        app = program(arguments[0] if arguments else None)
        code = app(args=arguments, standalone_mode=False, prog_name="finecut")
        sys.stdout.flush()
    except KeyboardInterrupt:
        kept = "; what is done is kept, and the same command goes on from here"
        say("finecut: interrupted" + (kept if arguments[:1] and arguments[0] in GOES_ON else ""))
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, say) has all it wanted; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except typer.Abort:
        say("finecut: stopped")
        code = EXIT_INTERRUPTED
    except OSError as error:
        say_error(type(error).__name__, os_error_text(error), as_json=as_json)
        code = EXIT_FAILED
    except Exception as caught:
        # click's usage errors print themselves; its classes are not typer's to import from.
        error: Any = caught
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            if as_json:
                say_error(type(error).__name__, f"a fault of finecut's: {error}", as_json=True)
            raise
        if as_json:
            say_error("UsageError", error.format_message(), as_json=True)
        else:
            error.show()
        code = error.exit_code
    if own_process and arguments[:1] == ["search"]:
        _leave(code or 0)
    sys.exit(code or 0)


def _leave(code: int) -> NoReturn:
    """End now: a search changes nothing, and taking all apart takes a tenth of its time."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
