"""The errors guerdon raises on purpose. Each message says what is wrong, where, and how to mend it in one line."""


class GuerdonError(Exception):
    """Base of every error that is the input's or the options' fault; the command line turns it into exit code 2."""


class FeedbackError(GuerdonError):
    """Feedback or candidates cannot be read or do not make sense (file, row, field and mend in the message)."""


class ConfigError(GuerdonError):
    """An option, a specification or a hyper-parameter is wrong."""


class ModelError(GuerdonError):
    """A saved model is damaged, of another version, or does not fit what it is asked to do."""


class BackendError(GuerdonError):
    """Something outside guerdon (an optional package, a server, a model file) is missing or failed."""


def need(package: str, extra: str) -> BackendError:
    """The error for a missing optional package, with the command that installs it."""
    return BackendError(f"this needs the package {package!r}; install it with: pip install 'guerdon[{extra}]'")
