"""What goes wrong with a command, as one sentence and an exit status."""


class CommandError(Exception):
    """The command cannot go on; the text is the sentence that people get on stderr."""

    exit_code = 1


class BadInput(CommandError):
    """What was given cannot be used; nothing has been started."""

    exit_code = 2
