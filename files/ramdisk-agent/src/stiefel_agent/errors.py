"""What can go wrong, in words for the person at the keyboard: an error's docstring is the message that is shown."""


class StiefelError(Exception):
    """Something went wrong in Stiefelsystem. Run with --debug to see where."""

    def __str__(self) -> str:
        """Return the docstring, followed by the details the raiser gave."""
        message = " ".join((self.__doc__ or "").split())
        detail = super().__str__()
        return f"{message} ({detail})" if detail else message
