"""What PyDistributed's key-value store is asked, and what it answers, as objects: `KeyValueStore.perform` and `KeyValueClient.perform` take them.

Their names in the original end in ``Action``; its documentation calls them without that, and both are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class GetAction:
    """Asks for the value of a key, and with ``subscribe`` for its changes from now on.

    >>> GetAction("colour", subscribe=True)
    GetAction(key='colour', subscribe=True)
    """

    key: str
    subscribe: bool = False


@dataclass
class GetResultAction:
    """The value of a key.

    >>> GetResultAction("colour", "red").value
    'red'
    """

    key: str
    value: Any


@dataclass
class GetExceptionAction:
    """There is no value; ``error`` is why.

    >>> GetExceptionAction(KeyError("colour")).error
    KeyError('colour')
    """

    error: BaseException | None = None


@dataclass
class SetAction:
    """Asks to set the value of a key.

    >>> SetAction("colour", "red")
    SetAction(key='colour', value='red')
    """

    key: str
    value: Any


@dataclass
class SetResultAction:
    """The value of a key was set.

    >>> SetResultAction("colour", "red").key
    'colour'
    """

    key: str
    value: Any


@dataclass
class SetExceptionAction:
    """The value was not set; ``error`` is why.

    >>> SetExceptionAction(TypeError("a key is a text")).error
    TypeError('a key is a text')
    """

    error: BaseException | None = None


@dataclass
class SubscribeAction:
    """Asks for the changes of a key from now on.

    >>> SubscribeAction("colour")
    SubscribeAction(key='colour')
    """

    key: str


@dataclass
class UnsubscribeAction:
    """Asks for the changes of a key no more.

    >>> UnsubscribeAction("colour")
    UnsubscribeAction(key='colour')
    """

    key: str


@dataclass
class ExceptionAction:
    """What was asked is none of these; ``error`` is why.

    >>> ExceptionAction(TypeError("none of these")).error
    TypeError('none of these')
    """

    error: BaseException | None = None


Get, GetResult, GetException = GetAction, GetResultAction, GetExceptionAction
Set, SetResult, SetException = SetAction, SetResultAction, SetExceptionAction
Subscribe, Unsubscribe, Exception = SubscribeAction, UnsubscribeAction, ExceptionAction
