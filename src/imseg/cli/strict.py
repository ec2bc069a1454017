"""Unknown commands and options: all of them at once, each with what was probably meant."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from imseg.errors import ImsegError, near_miss, raise_all, shown


class StrictCommand(TyperCommand):
    """A command that names every unknown option before it looks at anything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, but only if every option is known."""
        known = {
            name for each in self.get_params(ctx) for name in (*each.opts, *each.secondary_opts)
        }
        options = sorted(name for name in known if name.startswith("--"))
        written = args[: args.index("--")] if "--" in args else args
        unknown = [
            word.partition("=")[0]
            for word in written
            if word.startswith("--") and word.partition("=")[0] not in known
        ]
        raise_all(self._refuse(name, options) for name in dict.fromkeys(unknown))
        return super().parse_args(ctx, args)

    def _refuse(self, name: str, options: list[str]) -> ImsegError:
        guess = near_miss(name, options)
        return ImsegError(
            f"imseg {self.name} has no option {name}.",
            expected=", ".join(options),
            got=shown(name),
            hint=guess or f"imseg {self.name} --help",
        )


class StrictGroup(TyperGroup):
    """The list of commands; a misspelt one is answered with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant."""
        commands = self.list_commands(ctx)
        if args and args[0] not in commands and not args[0].startswith("-"):
            guess = near_miss(args[0], commands)
            raise ImsegError(
                f"imseg has no command {args[0]!r}.",
                expected=", ".join(commands),
                got=shown(args[0]),
                hint=f"imseg {guess}" if guess else "imseg --help",
            )
        return super().resolve_command(ctx, args)
