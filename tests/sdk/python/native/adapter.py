"""The parts that all adapters share."""

from clients.subjects import Weather

GEMINI = "gemini-2.5-flash"
CLAUDE = "claude-sonnet-5"
# The client's project and location. The sidecar replaces both with its own.
PROJECT, LOCATION = "another-project", "europe-west1"
DESCRIPTION = "Returns the weather of the next days."


class Adapter:
    """`errors` are the client's exceptions by status."""

    errors = {}
    model = GEMINI
    # A model that does not exist.
    unknown = "gemini-0"
    # How many tokens the client itself gets from the emulator, beside those of the sidecar.
    own_tokens = 0
    # The exceptions of an interrupted stream, and the number of events before the interruption.
    interrupted = Exception
    cut_after = 2

    def __init__(self, gateway, retries=False):
        """`gateway` is the sidecar with the emulator's control API."""

    def status(self, error):
        """The status of the response that caused an error."""
        return error.status_code

    def close(self):
        pass


class ClaudeAdapter(Adapter):
    model = CLAUDE
    unknown = "claude-0"
    # The first events have no text.
    cut_after = 5


def schema():
    """The schema of the tool's arguments."""
    return Weather.model_json_schema()
