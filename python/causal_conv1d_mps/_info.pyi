from typing import TypedDict, type_check_only

__version__: str

@type_check_only
class Backend(TypedDict):
    name: str
    available: bool
    detail: str

class Info(dict[str, object]): ...

def backends() -> list[Backend]: ...
def info() -> Info: ...
