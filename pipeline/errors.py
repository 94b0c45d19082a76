"""The exceptions of the pipeline: everything we raise on purpose is a :class:`CandlecastError`."""


class CandlecastError(Exception):
    """Base of every error raised on purpose. Its text is one line, fit to be shown to a person."""


class SettingsError(CandlecastError):
    """A setting cannot be used; the text names the variable and its value."""


class InvalidTrade(CandlecastError):
    """A trade is impossible or could not be parsed.

    ``reason`` is a short phrase without the value, so that rejections can be counted by it.
    """

    def __init__(self, reason: str, value: object = None) -> None:
        self.reason = reason
        super().__init__(reason if value is None else f"{reason}: {value!r:.200}")


class InvalidEntry(CandlecastError):
    """A stream entry is torn: its fields or its bytes are not a batch of trades.

    ``reason`` is a short phrase without the value, so that rejections can be counted by it.
    """

    def __init__(self, reason: str, value: object = None) -> None:
        self.reason = f"torn entry: {reason}"
        super().__init__(self.reason if value is None else f"{self.reason}: {value!r:.200}")


class InvalidCandle(CandlecastError):
    """A candle contradicts itself, or its JSON lacks a field."""


class InvalidAlert(CandlecastError):
    """An alert contradicts itself, or its JSON lacks a field."""


class InputFileError(CandlecastError):
    """A file given by a person cannot be read or lacks a column."""


class StateFolderError(CandlecastError):
    """The state folder cannot be used: not writable, or taken by another run."""


class StartError(CandlecastError):
    """A process that we supervise could not be started."""
