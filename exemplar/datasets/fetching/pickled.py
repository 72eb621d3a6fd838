"""The few instructions of a pickle that CIFAR's batches consist of, carried out without Python's unpickler.

A pickle is a program that may call whatever it names and ask for any amount of memory. Here an instruction makes a
number, a text, a list, a tuple, a dictionary or an array of bytes, and nothing is called; instructions are counted, so
that memory stays below eight times the file and 50 MB.
"""

import pickletools
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import Any

import numpy as np
from jaxtyping import UInt8

MOST_INSTRUCTIONS = 1 << 18  # a batch has 40,000
CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# What NumPy names to have an array made anew; by the last of them Python 3 writes bytes in this old protocol.
ARRAYS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray")
TYPE, ENCODE = "numpy dtype", "_codecs encode"


@dataclass(frozen=True)
class Name:
    """What a pickle asks for."""

    name: str


class ByteType:
    """NumPy's type of a byte."""


@dataclass
class Bytes:
    """An array of bytes, empty until its state comes."""

    rows: UInt8[np.ndarray, "..."] = field(default_factory=lambda: np.empty((0, 0), np.uint8))

    def fill(self, state: tuple[object, tuple[int, ...], object, bool, bytes]) -> None:
        """Take NumPy's description of an array: version, shape, type, order, bytes."""
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, ByteType):
            raise UnpicklingError("an array of another type than bytes")
        self.rows = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


@dataclass
class Machine:
    """What lies on the stack, where the marks in it are, what was noted, and how many more bytes texts may become."""

    spare: int
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    noted: dict[int, Any] = field(default_factory=dict)

    def since(self, start: int) -> list[Any]:
        """Take off the stack what lies there from a place on."""
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def step(self, instruction: str, argument: Any) -> None:  # noqa: ANN401  # a number or a text
        """Carry out one instruction; raises any error for one that does not fit what is there."""
        push, pop = self.stack.append, self.stack.pop
        match instruction:
            case "PROTO":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "BINPUT" | "LONG_BINPUT":
                self.noted[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self.noted[argument])
            case "BININT" | "BININT1" | "BININT2" | "BINUNICODE":
                push(argument)
            case "BINSTRING" | "SHORT_BINSTRING":
                push(argument.encode("latin-1"))
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                push(CONSTANTS[instruction])
            case "EMPTY_LIST":
                push([])
            case "EMPTY_DICT":
                push({})
            case "TUPLE":
                push(tuple(self.since(self.marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self.since(len(self.stack) - int(instruction[-1]))))
            case "APPEND":
                self.stack[-2].append(pop())
            case "APPENDS":
                self.stack[self.marks[-1] - 1].extend(self.since(self.marks.pop()))
            case "SETITEM":
                self.stack[-3].update([self.since(len(self.stack) - 2)])
            case "SETITEMS":
                pairs = self.since(self.marks.pop())
                self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
            case "GLOBAL":
                if argument not in (*ARRAYS, TYPE, ENCODE):
                    raise UnpicklingError(f"it asks for {argument.replace(' ', '.')}")
                push(Name(argument))
            case "REDUCE":
                arguments = pop()
                push(self.made(pop(), arguments))
            case "BUILD":
                state = pop()
                if not isinstance(self.stack[-1], ByteType):  # whose state says nothing of single bytes
                    self.stack[-1].fill(state)
            case _:
                raise UnpicklingError(f"the instruction {instruction}; write it with protocol 2")

    def made(self, name: Name, arguments: tuple[Any, ...]) -> object:
        """What NumPy or Python would have made of these arguments."""
        if name.name in ARRAYS:
            return Bytes()
        if name.name == TYPE:
            if arguments[0] not in ("u1", b"u1"):
                raise UnpicklingError(f"the type {arguments[0]!r}")
            return ByteType()
        self.spare -= len(arguments[0])
        if self.spare < 0:
            raise UnpicklingError("one text, again and again")
        return arguments[0].encode("latin-1")


def load(content: bytes) -> object:
    """What a pickle of these instructions holds; raises any error for what is none."""
    machine = Machine(spare=len(content))
    for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        if count == MOST_INSTRUCTIONS:
            raise UnpicklingError(f"more than {MOST_INSTRUCTIONS:,} instructions")
        if instruction.name == "STOP":
            return machine.stack.pop()
        machine.step(instruction.name, argument)
    raise UnpicklingError("it has no end")
