"""Read the settings from the environment, with all errors in one message."""

from pydantic import ValidationError

from ..errors import Refused
from ..settings import Settings, variable


def read_settings() -> Settings:
    """The settings.

    Raises:
        Refused: a variable has a value that it cannot have; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        fields = Settings.model_fields
        places = [(str(detail["loc"][0]), detail["msg"]) for detail in error.errors()]
        wrong = [f"{variable(name, fields[name]) if name in fields else name}: {message}" for name, message in places]
        raise Refused(f"Invalid settings in the environment: {'; '.join(wrong)}.") from None
