"""The one exception that means "the input is at fault, not the program"."""


class InputError(ValueError):
    """Bad input: the message is one line that names the file or value and the remedy.

    The command line prints the message alone and exits with status 1; any other exception is a defect of
    clipjax and keeps its traceback.
    """
