"""The exit codes of every command. 0 means that everything succeeded."""

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

EXIT_CODES = {
    0: "everything succeeded",
    EXIT_SOME_FAILED: "something failed, or an app of several, or the output could not be written",
    EXIT_USAGE: "wrong usage, a value that is not allowed or does not exist, or wrong settings; nothing was changed",
    EXIT_REFUSED: "refused: paused, a limit, a state that does not allow it, a value that somebody else has changed meanwhile, "
    "or your own answer",
    EXIT_INTERRUPTED: "interrupted with Ctrl-C",
    EXIT_PIPE_CLOSED: "the reader of the output has gone, as in `… | head`",
}
