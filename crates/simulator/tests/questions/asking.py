"""How a question is asked and its answer printed."""
import ctypes
import os
import signal
import traceback

U32, U64, INT = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
ref = ctypes.byref
FILLED = 0xAAAAAAAAAAAAAAAA
SECONDS = 30


def filled(width=U64):
    """A number that no driver writes."""
    return width(FILLED & (2 ** (8 * ctypes.sizeof(width)) - 1))


def written(value):
    """What was written, without what differs from one machine to the next."""
    if value.value == filled(type(value)).value:
        return "untouched"
    if value.value in (0, None):
        return "0"
    return str(value.value) if isinstance(value, U32) else "something"


class Library:
    """A library whose functions are asked by name."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)

    def call(self, name, *arguments):
        try:
            function = getattr(self.library, name)
        except AttributeError:
            return "no such function"
        return function(*arguments)

    def ask(self, what, name, *arguments, out=()):
        """Calls a function and prints its result and what it wrote."""
        result = self.call(name, *arguments)
        print(f"{what}: {result}{''.join(' ' + written(one) for one in out)}")
        return result

    def number(self, what, name, *arguments, width=U64):
        """Asks what writes a number through its first argument."""
        value = filled(width)
        self.ask(what, name, ref(value), *arguments, out=(value,))
        return value

    def property(self, what, name, *arguments, width=U32):
        """Asks what writes a number through its last argument; the number differs per machine."""
        value = filled(width)
        result = self.call(name, *arguments, ref(value))
        print(f"{what}: {result} {'untouched' if value.value == filled(width).value else 'something'}")
        return value

    def text(self, what, name, *arguments, room, told=None):
        """Asks for a text into `room` bytes (`told` to the library) and prints how much was written."""
        buffer = ctypes.create_string_buffer(b"\xaa" * 256, 256)
        result = self.call(name, *arguments, buffer, U32(room if told is None else told))
        end = buffer.raw.find(b"\0")
        print(f"{what}: {result} {'untouched' if buffer.raw[0] == 0xAA else 'empty' if end == 0 else 'something'}")
        return buffer.raw[:max(end, 0)]


def part(kind, questions, path):
    """Asks the questions of a part in a process of its own."""
    print(f"== {kind}: {questions.__name__.replace('_', ' ')}")
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            questions(Library(path))
        except BaseException:
            traceback.print_exc()
            print("these questions are wrong")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print(f"the process ended by signal: {os.WTERMSIG(status)}")
