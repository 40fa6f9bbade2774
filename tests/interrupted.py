"""Interrupts a function at every instruction of the code that a test is about."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any


def trace_instructions(trace: Any) -> None:
    """Sets a trace function that asks for instructions. Python 3.12 tells of them only if a frame had asked for them before."""
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)


def interrupted_at_every_instruction(function: Any, *codes: CodeType) -> int:
    """Calls a function again and again, each time interrupted at the next instruction of these; returns how many there were."""
    moment = 0
    while True:
        moment += 1
        seen = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal seen
            if frame.f_code not in codes:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                seen += 1
                if seen == moment:
                    raise KeyboardInterrupt
            return trace

        trace_instructions(trace)
        try:
            function()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if seen < moment:
            return moment
